"""Combiners that go on without some of their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.errors import LoadError, NodeError

ROOT = Path(__file__).parents[1]
PARTS = """
class One:
    def __init__(self, value, fails):
        self.value, self.fails = value, fails

    def predict(self, x):
        if self.fails:
            raise RuntimeError("no luck")
        return x * 0 + self.value


class Count:
    def combine(self, inputs):
        return [[float(len(inputs))]]


class Named:
    def combine(self, a, b=None, c=None):
        return [[float(a[0, 0]), -1.0 if b is None else float(b[0, 0])]]


class Strict:
    def combine(self, a, b, c=None):
        return a
"""
X = np.zeros((1, 1), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quorum_parts.py").write_text(PARTS)
    return tmp_path


def graph(folder: Path, failing: str, inputs: Any = None, quorum: int = 1, **how: Any) -> Graph:
    """Nodes a, b and c give 1, 2 and 6; those named in ``failing`` fail."""
    built = Graph("g", root=folder).input("x", "FP32", [-1, 1])
    for name, value in {"a": 1.0, "b": 2.0, "c": 6.0}.items():
        built.predictor(
            name,
            component="quorum_parts.py:One",
            args={"value": value, "fails": name in failing},
            inputs={"x": "x"},
            outputs={"output": ("FP32", [-1, 1])},
            on_error="skip",
        )
    built.combiner("m", inputs=inputs or ["a", "b", "c"], quorum=quorum, **how)
    return built.output("y", "m")


@pytest.mark.parametrize("inputs", [["a", "b", "c"], {"p": "a", "q": "b", "r": "c"}])
@pytest.mark.parametrize(
    ("strategy", "args", "failing", "expected"),
    [
        ("mean", {}, "", 3.0),
        ("mean", {}, "a", 4.0),
        ("mean", {}, "ab", 6.0),
        ("max", {}, "c", 2.0),
        ("first", {}, "", 1.0),
        ("first", {}, "ab", 6.0),
        ("weighted_mean", {"weights": [1, 1, 2]}, "", 3.75),
        ("weighted_mean", {"weights": [1, 1, 2]}, "a", 14 / 3),
        ("weighted_mean", {"weights": [1, 3, 0]}, "c", 1.75),
    ],
)
def test_built_in_combiners_go_on_with_what_is_left(
    folder: Path, inputs: Any, strategy: str, args: dict[str, Any], failing: str, expected: float
) -> None:
    with graph(folder, failing, inputs, strategy=strategy, args=args) as built:
        for _ in range(8):
            assert built.run({"x": X})["y"] == pytest.approx(expected)


def test_votes_of_those_that_are_left(folder: Path) -> None:
    built = Graph("g", root=folder).input("x", "INT64", [-1])
    for name, value in {"a": 1.0, "b": 2.0, "c": 2.0}.items():
        built.predictor(name, component="quorum_parts.py:One",
                        args={"value": int(value), "fails": name == "b"}, inputs={"x": "x"},
                        outputs={"output": ("INT64", [-1])}, on_error="skip")  # fmt: skip
    built.combiner("v", strategy="vote", inputs=["a", "b", "c"], quorum=2).output("y", "v")
    with built:
        assert built.run({"x": np.array([0])})["y"] == [1]


def test_weights_that_are_left_must_not_be_0(folder: Path) -> None:
    how = {"strategy": "weighted_mean", "args": {"weights": [1, 1, 0]}}
    with graph(folder, "ab", **how) as built, pytest.raises(NodeError, match="left sum to 0"):
        built.run({"x": X})


def test_too_few_inputs_name_who_failed_and_why(folder: Path) -> None:
    with graph(folder, "ac", quorum=2, strategy="mean") as built:
        for _ in range(5):
            with pytest.raises(NodeError) as caught:
                built.run({"x": X})
            assert str(caught.value) == (
                "node 'm' failed: 1 of 3 inputs are left, its quorum is 2 "
                "(node 'a' failed: RuntimeError: no luck (quorum_parts.py:8); "
                "node 'c' failed: RuntimeError: no luck (quorum_parts.py:8))"
            )


def test_own_combiners_get_a_shorter_list(folder: Path) -> None:
    with graph(folder, "b", component="quorum_parts.py:Count") as built:
        assert built.run({"x": X})["y"] == [[2.0]]


def test_own_combiners_are_called_without_the_parameter(folder: Path) -> None:
    inputs = {"a": "x", "b": "b", "c": "c"}
    with graph(folder, "bc", inputs, component="quorum_parts.py:Named") as built:
        assert built.run({"x": X})["y"].tolist() == [[0.0, -1.0]]
    with graph(folder, "c", inputs, component="quorum_parts.py:Named") as built:
        assert built.run({"x": X})["y"].tolist() == [[0.0, 2.0]]


def test_a_parameter_that_may_be_left_out_needs_a_default(folder: Path) -> None:
    inputs = {"a": "x", "b": "b", "c": "c"}
    with (
        graph(folder, "", inputs, component="quorum_parts.py:Strict") as built,
        pytest.raises(LoadError, match=r"node 'm': b may be left out, .* 'b' of combine\(\) needs"),
    ):
        built.run({"x": X})


def test_a_combiner_below_its_quorum_may_be_skipped_in_turn(folder: Path) -> None:
    built = Graph("g", root=folder).input("x", "FP32", [-1, 1])
    for name in "ab":
        built.predictor(name, component="quorum_parts.py:One", args={"value": 1.0, "fails": True},
                        inputs={"x": "x"}, outputs={"output": ("FP32", [-1, 1])},
                        on_error="skip")  # fmt: skip
    built.combiner("inner", strategy="mean", inputs=["a", "b"], quorum=1, on_error="skip")
    built.combiner("m", strategy="mean", inputs=["inner", "x"], quorum=1).output("y", "m")
    with built:
        assert built.run({"x": X})["y"] == [[0.0]]
