"""The values of nodes that the request log is to have."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.plan import Plan


def plan(nodes: list[str], **more: Any) -> Plan:
    numbers = {"datatype": "FP64", "shape": [-1, 2]}
    split = {"type": "transformer", "method": "split", "args": {"columns": ["a", "b"]}}
    document = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": numbers},
            "nodes": {
                "columns": {**split, "inputs": {"x": "x"}},
                "idle": {**split, "inputs": {"x": "x"}},
                "own": {"type": "transformer", "component": "c.py:C", "inputs": {"x": "x"}},
            },
            "outputs": {"a": "columns.a", "own": "own.y"},
            "telemetry": {"requests": {"nodes": nodes, **more}},
        },
    }
    return load_data(document).plan


def test_a_node_means_all_of_its_outputs() -> None:
    assert list(plan(["columns"]).recorded) == ["columns.a", "columns.b"]
    assert list(plan(["columns.b", "own.y", "columns.b"]).recorded) == ["columns.b", "own.y"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x", "'x' is a graph input, which is logged anyway"),
        ("column", r"there is no graph input or node 'column' \(did you mean 'columns'"),
        ("columns.c", "'columns' has no output 'c'"),
        ("own", "the outputs of node 'own' are not known: declare them"),
        ("idle", "no output needs node 'idle', so it never runs"),
    ],
)
def test_sources_that_cannot_be_logged(source: str, text: str) -> None:
    with pytest.raises(SpecError, match=rf"spec.telemetry.requests.nodes.0: .*{text}"):
        plan([source])


def test_names_that_are_redacted_are_of_tensors_that_are_logged() -> None:
    with pytest.raises(SpecError, match="no input or output of this name"):
        plan(["columns"], redact=["b"])
