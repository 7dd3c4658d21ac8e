from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anabranch import Graph
from anabranch.graph.plan.reached import reached

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def plan() -> Any:
    graph = Graph("g", root=ROOT).input("x", "INT64", [-1])

    def node(name: str, source: str) -> None:
        graph.combiner(name, component="parts.py:Sum", args={"name": name}, inputs={"x": source})

    node("first", "x")
    for name in ("a", "b", "c"):
        node(name, "first")
    graph.router("inner", strategy="weighted", routes=["b", "c"])
    graph.router("outer", strategy="weighted", routes=["a", "inner"])
    node("last", "outer")
    return graph.output("y", "last").plan


@pytest.mark.parametrize(
    ("path", "nodes"),
    [
        ({"outer": "a"}, "last outer a first"),
        ({"outer": "inner", "inner": "c"}, "last outer inner c first"),
        ({"outer": "inner"}, "last outer inner c b first"),
        ({}, "last outer inner c b a first"),
        ({"outer": "#on_error"}, "last outer"),
    ],
)
def test_nodes_are_reached_by_routes(plan: Any, path: dict[str, str], nodes: str) -> None:
    found = reached(plan, path)
    assert sorted(found) == sorted(nodes.split())
    place = list(plan.nodes).index
    assert [place(name) for name in found] == sorted(map(place, found), reverse=True)
