from __future__ import annotations

import pytest

from anabranch.control.access.use import use_of
from anabranch.graph.compile.loading import load_text

TEXT = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 4]}}
  nodes:
    a: {type: transformer, method: softmax, inputs: {x: x}NODE}
  outputs: {y: a}
GRAPH
"""


@pytest.mark.parametrize(
    ("node", "graph", "expected"),
    [
        ("", "", {"replicas": 1}),
        ("", "  scaling: {replicas: 3}", {"replicas": 3}),
        ("", "  scaling: {min: 0, max: 4}", {"replicas": 4}),
        ("", "  serving: {pool: light}", {"replicas": 1}),
        (", placement: {isolate: true}", "", {"replicas": 2}),
        (", resources: {gpu: 0.5}", "", {"replicas": 2, "gpu": 0.5}),
        (", resources: {cpu: 2, memory: 1MiB}, scaling: {min: 1, max: 3}",
         "  scaling: {replicas: 2}", {"replicas": 5, "cpu": 6, "memory": 3 * 2**20}),
        ("", "  monitors: {m: {method: sketch, watches: [x]}}", {"replicas": 2}),
    ],
)  # fmt: skip
def test_a_revision_takes_all_replicas_that_its_scaling_allows(
    node: str, graph: str, expected: dict[str, float]
) -> None:
    plan = load_text(TEXT.replace("NODE", node).replace("GRAPH", graph)).plan
    nothing = {"graphs": 0, "replicas": 0, "cpu": 0, "gpu": 0, "memory": 0}
    assert use_of(plan) == nothing | expected
