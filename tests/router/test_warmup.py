"""What a head evaluates before it is ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import DeployError, NodeError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.plan import Plan
from anabranch.router.inference.contract import Array, Evaluated, Verdict
from anabranch.router.warmup import warm_up
from anabranch.specs.models import Compare, Warmup

CAST = {"type": "transformer", "method": "cast", "args": {"datatype": "FP64"}}


def plan(**inputs: Any) -> Plan:
    nodes = {f"n{index}": CAST | {"inputs": {"x": name}} for index, name in enumerate(inputs)}
    return load_data(
        {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g"},
            "spec": {
                "inputs": {n: {"datatype": d, "shape": s} for n, (d, s) in inputs.items()},
                "nodes": nodes,
                "outputs": {name: name for name in nodes},
            },
        }
    ).plan


class Recording:
    """A head that keeps what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[Mapping[str, Array], Context, Sequence[str] | None]] = []
        self._error = error

    def obstacle(self) -> str:
        return ""

    async def run(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        self.asked.append((inputs, context, outputs))
        if self._error is not None:
            raise self._error
        return Evaluated({}, 0.0)

    def stream(self, *args: Any) -> Any:
        raise NotImplementedError

    async def compare(
        self, inputs: Mapping[str, Array], context: Context, outputs: Sequence[str] | None,
        expected: Mapping[str, Array], rule: Compare,
    ) -> Verdict:  # fmt: skip
        raise NotImplementedError


def warmed(head: Recording, given: Plan, root: Path, **fields: Any) -> Recording:
    asyncio.run(warm_up(head, given, Warmup.model_validate(fields), root))
    return head


def test_zeros_of_every_type_and_size(tmp_path: Path) -> None:
    given = plan(a=("FP32", [-1, 4]), b=("INT64", [2]), c=("BF16", [-1]), d=("BOOL", []))
    head = warmed(Recording(), given, tmp_path, requests=3, rows=5)
    assert len(head.asked) == 3
    inputs, context, outputs = head.asked[0]
    assert {name: array.shape for name, array in inputs.items()} == {
        "a": (5, 4), "b": (2,), "c": (5,), "d": ()
    }  # fmt: skip
    assert not any(array.any() for array in inputs.values())
    assert outputs is None
    assert context.deadline is None


def test_texts_are_empty(tmp_path: Path) -> None:
    given = load_data(
        {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g"},
            "spec": {
                "inputs": {"t": {"datatype": "BYTES", "shape": [-1]}},
                "nodes": {"n": {"type": "transformer", "component": "c.py:C",
                                "inputs": {"x": "t"}}},
                "outputs": {"u": "n"},
            },
        }
    ).plan  # fmt: skip
    head = warmed(Recording(), given, tmp_path, rows=2)
    np.testing.assert_array_equal(head.asked[0][0]["t"], np.array(["", ""], dtype=object))


def test_a_request_of_ones_own(tmp_path: Path) -> None:
    tensor = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    (tmp_path / "one.json").write_text(
        json.dumps({"inputs": [tensor], "outputs": [{"name": "n0"}]})
    )
    head = warmed(Recording(), plan(a=("FP32", [-1, 2])), tmp_path, data="one.json")
    inputs, _, outputs = head.asked[0]
    np.testing.assert_array_equal(inputs["a"], np.array([[1, 2]], dtype=np.float32))
    assert outputs == ("n0",)


def refused(root: Path, head: Recording | None = None, **fields: Any) -> str:
    with pytest.raises(DeployError) as caught:
        warmed(head or Recording(), plan(a=("FP32", [-1, 2])), root, **fields)
    return str(caught.value)


def test_a_node_that_fails_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, Recording(NodeError("net", "ValueError: no")))
    assert said.startswith("warmup: ") and "'net'" in said


def test_data_that_is_not_there_or_does_not_fit(tmp_path: Path) -> None:
    assert refused(tmp_path, data="no.json") == (
        "warmup: data 'no.json' cannot be read: No such file or directory"
    )
    (tmp_path / "bad.json").write_text("{")
    assert refused(tmp_path, data="bad.json").startswith("warmup: the body is not JSON")
    (tmp_path / "other.json").write_text('{"inputs": []}')
    assert "missing input 'a'" in refused(tmp_path, data="other.json")
