"""Values that are absent, between processes of an engine and in its replies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Given
from tests.engines import Engine

pytestmark = pytest.mark.e2e

CODE = """
class Split:
    def predict(self, x):
        return {"low": x} if x.sum() < 0 else {"high": x}
"""
TYPE = {"datatype": "FP32", "shape": [-1, 2]}
APART = {"placement": {"isolate": True}}


def scaled(by: float, source: str, **more: Any) -> dict[str, Any]:
    args = {"multiply_by": by}
    return {"type": "transformer", "method": "scale", "args": args, "inputs": {"x": source}, **more}


GRAPH = {
    "apiVersion": "anabranch/v1",
    "kind": "InferenceGraph",
    "metadata": {"name": "absent"},
    "spec": {
        "inputs": {"x": TYPE, "note": {**TYPE, "optional": True}},
        "nodes": {
            "split": {
                "type": "predictor",
                "component": "components.py:Split",
                "inputs": {"x": "x"},
                "outputs": {"low": TYPE, "high": TYPE},
                "optional_outputs": ["low", "high"],
                **APART,
            },
            "tens": scaled(10, "split.low", **APART),
            "hundreds": scaled(100, "split.high"),
            "either": {
                "type": "combiner",
                "strategy": "first",
                "inputs": ["tens", "hundreds"],
                "quorum": 1,
            },
            "noted": scaled(2, "x", triggers={"sources": ["note"]}, **APART),
        },
        "outputs": {"either": "either", "noted": "noted"},
    },
}


def tensor(name: str, *data: float) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [1, 2], "data": list(data)}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([tensor("x", -1, 0)], {"either": [-10, 0]}),
        ([tensor("x", 1, 0)], {"either": [100, 0]}),
        ([tensor("x", 1, 0), tensor("note", 0, 0)], {"either": [100, 0], "noted": [2, 0]}),
    ],
)
def test_nodes_are_skipped_across_processes(
    engine: Engine, given: Given, inputs: list[dict[str, Any]], expected: dict[str, list[float]]
) -> None:
    name = given.deployed(GRAPH, CODE)
    for _ in range(3):
        reply = engine.infer(name, {"inputs": inputs})
        assert reply.status_code == 200, reply.text
        assert {one["name"]: one["data"] for one in reply.json()["outputs"]} == expected
    reply = engine.infer(name, {"inputs": inputs, "outputs": [{"name": "noted"}]})
    assert [one["name"] for one in reply.json()["outputs"]] == [*(expected.keys() & {"noted"})]
    missing = engine.infer(name, {"inputs": [tensor("note", 0, 0)]})
    assert missing.status_code == 400
    assert "missing input 'x'" in missing.json()["error"]
