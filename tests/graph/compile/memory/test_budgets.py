"""Budgets that hold for more nodes than have one, and the sum of all replicas."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.cli.reports.graph import plan_text
from anabranch.graph.compile.memory.budgets import reserved_bytes
from anabranch.graph.compile.render import plan_to_json

GIB = 2**30


def step(graph: Graph, name: str, source: str = "x", **options: Any) -> Graph:
    return graph.transformer(name, component="c.py:C", inputs={"x": source}, **options)


def tied(first: dict[str, Any], second: dict[str, Any]) -> Graph:
    graph = step(Graph("g").input("x", "FP32", [-1]), "a", resources=first)
    more = {"resources": second} if second else {}
    return step(graph, "b", "a", placement={"with": "a"}, **more).output("y", "b")


@pytest.mark.parametrize(
    ("first", "second", "warnings"),
    [
        ({"memory": "1GiB"}, {"memory": "2GiB"}, []),
        ({"cpu": 1.0}, {"cpu": 1.0}, []),
        (
            {"memory": "1GiB"},
            {"cpu": 1.0},
            [
                "spec.nodes.a.resources.memory: 1GiB is the most of the whole process, which a "
                "shares with b: give it `resources.memory` too, or count it in"
            ],
        ),
        (
            {"gpu": 0.5, "gpu_memory": "8GiB"},
            {"gpu": 0.5},
            [
                "spec.nodes.a.resources.gpu_memory: 8GiB is the most of the whole process, which a "
                "shares with b: give it `resources.gpu_memory` too, or count it in"
            ],
        ),
        ({"gpu": 0.5, "gpu_memory": "8GiB"}, {}, []),
    ],
)
def test_a_budget_for_more_than_its_node(
    first: dict[str, Any], second: dict[str, Any], warnings: list[str]
) -> None:
    assert [str(warning) for warning in tied(first, second).plan.warnings] == warnings


def test_the_sum_of_all_replicas() -> None:
    graph = step(Graph("g").input("x", "FP32", [-1]), "light")
    scaling: dict[str, Any] = {"min": 0, "max": 4}
    step(graph, "a", "light", resources={"memory": "2GiB"}, scaling=scaling)
    step(graph, "b", "a", resources={"memory": "1GiB"}, scaling={"replicas": 3})
    gpu = {"gpu": 0.5, "gpu_memory": "8GiB"}
    step(graph, "c", "b", resources=gpu, scaling={"max": 2}).output("y", "c")
    plan = graph.plan
    assert reserved_bytes(plan, "memory") == (3 * GIB, 11 * GIB)
    assert reserved_bytes(plan, "gpu_memory") == (8 * GIB, 16 * GIB)
    found = plan_to_json(plan)
    assert found["budgets"]["memory"] == {"min": 3 * GIB, "max": 11 * GIB}
    lines = plan_text(found, None).splitlines()
    assert "memory of all replicas: 3GiB to 11GiB; without a budget: head, c" in lines
    assert "gpu_memory of all replicas: 8GiB to 16GiB" in lines


def test_without_budgets_there_is_no_sum() -> None:
    graph = step(Graph("g").input("x", "FP32", [-1]), "a", resources={"cpu": 1.0}).output("y", "a")
    assert reserved_bytes(graph.plan, "memory") is None
    assert plan_to_json(graph.plan)["budgets"] == {}
    assert "of all replicas" not in plan_text(plan_to_json(graph.plan), None)
