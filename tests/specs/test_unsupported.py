"""What the language says and this version does not do yet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from anabranch.specs import unsupported
from anabranch.specs.models import InferenceGraph
from tests.strategies import graphs

OWN = {"type": "predictor", "component": "c.py:C", "inputs": {"x": "x"}}
ONNX = {"type": "predictor", "runtime": "onnx", "inputs": {"x": "x"}}


def said(node: dict[str, Any], **spec: Any) -> list[str]:
    graph = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1]}},
            "nodes": {"a": node},
            "outputs": {"y": "a"},
            **spec,
        },
    }
    return [str(problem) for problem in unsupported(InferenceGraph.model_validate(graph))]


def test_explainers_of_ones_own_are_supported() -> None:
    assert said({"type": "explainer", "component": "c.py:C"}) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": {"replicas": 3}},
        {"scaling": {"min": 0, "max": 4, "max_queue": 9}, "warmup": {"requests": 3}},
        {"traffic": {"sticky": {"header": "x"}}},
        {"traffic": {"rules": [{"when": "true", "to": "candidate"}], "compare": {"rtol": 0}}},
        {"rollout": {"steps": [5, 50], "hold": "0s", "mirror": 5, "gate": "http://a/b"}},
    ],
)
def test_scaling_traffic_and_rollouts_are_supported(spec: dict[str, Any]) -> None:
    assert said(OWN, **spec) == []


@pytest.mark.parametrize(
    "more",
    [
        {"resources": {"gpu": 1, "accelerator": "H100"}},
        {"scaling": {"replicas": 3}},
        {"scaling": {"max": 2, "schedule": [{"cron": "0 8 * * *", "for": "1h", "min": 2}]}},
        {"timeout": "1s", "idempotent": True, "retries": 2, "on_error": {"use": "x"}},
        {"on_error": {"value": 0.0}},
        {"on_error": "skip"},
        {"placement": {"isolate": True}},
        {"batching": {"max_size": 4, "max_delay": "2ms", "max_queue": 9}},
    ],
)
def test_what_is_supported(more: dict[str, Any]) -> None:
    assert said(OWN | more) == []
    for path in ("models/m.onnx", "file:///models/m.onnx", "s3://bucket/m.onnx", "/m.onnx"):
        assert said(ONNX | more | {"model": path}) == []


@given(graphs(unsupported=False))
def test_graphs_without_it_are_accepted(graph: InferenceGraph) -> None:
    assert unsupported(graph) == ()
