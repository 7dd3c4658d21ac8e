"""Routers that ask all of their routes, or none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import BROADCAST, Context
from anabranch.errors import NodeError, SpecError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.graph.endless import running

ROOT = Path(__file__).parents[1]
TARGETS = ["a", "b", BROADCAST, None]
X = [0, 1, 2, 3]
"""Inputs for which the router returns each of the targets."""


def graph(isolated: bool = False, **fields: Any) -> Graph:
    place = {"isolate": isolated}
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    for name in ("a", "b", "same"):
        built.combiner(name, component="parts.py:Sum", args={"name": name}, inputs={"x": "x"},
                       placement=place)  # fmt: skip
    built.combiner("all", strategy="concat", inputs=["a", "b"], placement=place)
    built.router("r", component="parts.py:Pick", args={"name": "r", "targets": TARGETS},
                 routes=["a", "b"], inputs={"x": "x"}, placement=place, **fields)  # fmt: skip
    return built.output("y", "r")


def ran(built: Graph, x: int, *, segmented: bool = False) -> tuple[list[str], dict[str, str], Any]:
    """The components that ran, the routes, and the answer."""
    context = Context(parameters={"log": []})
    bound = asyncio.run(load_nodes(built.plan, built.plan.nodes, ROOT))
    executor = loopback(built.plan, bound) if segmented else HeadExecutor(built.plan, bound)
    with running(executor) as run:
        found = run(executor.run({"x": np.array([x])}, context))
    return sorted(context.parameters["log"]), context.path, found["y"].tolist()


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize(
    ("x", "route", "asked"),
    [(0, "a", ["a"]), (1, "b", ["b"]), (2, "all", ["a", "b"]), (3, "same", ["same"])],
)
def test_a_router_asks_one_route_or_all_or_none(
    x: int, route: str, asked: list[str], segmented: bool
) -> None:
    built = graph(segmented, broadcast="all", skip="same")
    log, path, y = ran(built, x, segmented=segmented)
    assert path == {"r": route}
    assert log == sorted([*asked, "r"])
    assert len(y) == (2 if route == "all" else 1)


@pytest.mark.parametrize(("x", "words"), [(2, "BROADCAST.*`broadcast`"), (3, "None.*`skip`")])
def test_a_router_without_the_field_fails_for_the_answer(x: int, words: str) -> None:
    with pytest.raises(NodeError, match=words):
        ran(graph(), x)


def test_the_fields_name_nodes() -> None:
    with pytest.raises(SpecError, match=r"r.broadcast.*\n.*r.skip"):
        print(graph(broadcast="al", skip="x").plan)


def test_a_strategy_never_broadcasts() -> None:
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    built.transformer("a", component="parts.py:Return", inputs={"x": "x"})
    built.router("r", strategy="weighted", routes={"a": 1}, broadcast="a", skip="a")
    with pytest.raises(SpecError, match=r"broadcast: only a `component`.*\n.*skip: only"):
        print(built.output("y", "r").plan)
