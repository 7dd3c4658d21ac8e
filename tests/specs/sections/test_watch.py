"""What can be watched, and what cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.specs.sections.watch import watch_rules

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {{name: g}}
spec:
  inputs: {{x: {{datatype: FP32, shape: [-1, 2]}}}}
  nodes:
    m: {{type: predictor, inputs: {{x: x}}, {node}}}
  outputs: {{y: m}}
"""


def watching(watch: str = "true", model: str = "s3://b/m.skops", more: str = "") -> Any:
    node = f"runtime: sklearn, model: '{model}', watch: {watch}{more}"
    return load_text(SPEC.format(node=node)).graph.spec.nodes["m"]


@pytest.mark.parametrize(
    "model",
    [
        "models:/m@champion#model.skops", "models:/m/Production#model.skops",
        "models:/m/latest#m.skops", "s3://b/m.skops", "file:///m.skops", "https://h/m.skops",
    ],
)  # fmt: skip
def test_what_moves_can_be_watched(model: str) -> None:
    assert watching(model=model).watch is True
    assert watching("{every: 5m}", model).watch.every.seconds == 300
    assert watching("{}", model).watch.every is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": "models:/m/3#m.skops"}, "watch: cannot watch what does not move: models:/m/3"),
        ({"model": "runs:/abc/m.skops"}, "watch: cannot watch what does not move: runs:/abc"),
        ({"model": "s3://b/m.pkl"}, "watch: 's3://b/m.pkl' can run code when it is loaded, and no"),
        ({"more": f", sha256: '{'0' * 64}'"}, "sha256: is the digest of one model"),
        ({"watch": "{every: 10ms}"}, "watch.every: must be 1s at least"),
        ({"watch": "{every: 5}"}, "watch.every: 5 is not a duration"),
        ({"watch": "often"}, "watch: must be true, false, or a map such as {every: 30s}"),
        ({"watch": "{often: true}"}, "watch.often: unknown field"),
        ({"model": "s3://b/{model}", "more": ", multiplex: {}"}, "watch: `multiplex` has many"),
    ],
)
def test_what_cannot(parts: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        watching(**parts)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("runtime: sklearn, watch: true", "watch: needs `model`"),
        ("component: 'c.py:C', watch: true", "watch: has no meaning for a `component`"),
    ],
)
def test_without_a_model(node: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(SPEC.format(node=node))
    assert message in str(caught.value)


def test_false_is_as_good_as_nothing() -> None:
    assert watching("false", "models:/m/3#m.skops").watch is False


@given(st.dictionaries(st.sampled_from(["watch", "model", "sha256", "multiplex"]), st.integers()))
def test_anything_is_judged(node: dict[str, Any]) -> None:
    assert all(path and text for path, text in watch_rules(node))
