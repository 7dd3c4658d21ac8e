"""What a graph's outputs depend on, against what happens when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import AnabranchError, SpecError, Unavailable
from anabranch.graph.execute.executor import HeadExecutor, SegmentCall, SegmentExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.graph.plan.dependence import blocked_outputs, optional_segments
from anabranch.graph.plan.plan import Plan
from tests.examples import examples
from tests.graph.execute.test_executor_properties import ROOT, Part, build, graphs

ISOLATED = {"placement": {"isolate": True}}


def calls(
    executors: Mapping[str, SegmentExecutor], down: Collection[str], called: set[str]
) -> dict[str, SegmentCall]:
    """Calls to segments, which are noted; those that are down fail."""

    def call(name: str) -> SegmentCall:
        async def made(values: Any, wants: Any, context: Context) -> Mapping[str, Any]:
            called.add(name)
            if name in down:
                raise Unavailable(f"segment {name!r} has no healthy replica")
            return await executors[name].run(values, wants, context)

        return made

    return {name: call(name) for name in executors}


async def ask(plan: Plan, down: Collection[str]) -> dict[str, tuple[bool, set[str]]]:
    """Return of each output whether it was answered, and the segments that were called for it."""
    bound = await load_nodes(plan, plan.nodes, ROOT)
    parts = {part.name: {n: bound[n] for n in part.nodes} for part in plan.segments}
    away = {part.name: SegmentExecutor(plan, part, parts[part.name]) for part in plan.segments[1:]}
    called: set[str] = set()
    head = HeadExecutor(plan, parts[plan.head.name], calls(away, down, called))
    arrays = {name: np.array([3]) for name in plan.inputs}
    found = {}
    for name in plan.outputs:
        called.clear()
        try:
            await head.run(arrays, Context(parameters={"log": []}), [name])
            found[name] = (True, set(called))
        except AnabranchError:
            found[name] = (False, set(called))
    for one in (head, *away.values()):
        one.close()
    return found


FEW = settings(
    max_examples=examples(80),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
"""Most random graphs have a node that fails, or a single segment."""


def planned(parts: list[Part]) -> Plan:
    """The plan of a random graph whose components do not fail by themselves."""
    assume(not any(part.cls in ("Fail", "FailPick") for part in parts))
    try:
        plan = build(parts, placed=True).plan
    except SpecError:
        assume(False)
    assume(len(plan.segments) > 1)
    return plan


@FEW
@given(graphs(), st.data())
def test_a_blocked_output_cannot_be_had_and_without_routers_all_others_can(
    parts: list[Part], data: st.DataObject
) -> None:
    plan = planned(parts)
    names = [part.name for part in plan.segments[1:]]
    down = data.draw(st.sets(st.sampled_from(names)))
    blocked = blocked_outputs(plan, down)
    has_routers = any(node.routes for node in plan.nodes.values())
    for name, (answered, _) in asyncio.run(ask(plan, down)).items():
        if name in blocked:
            assert not answered
        elif not has_routers:
            assert answered


@FEW
@given(graphs())
def test_every_output_calls_a_segment_that_is_not_optional(parts: list[Part]) -> None:
    plan = planned(parts)
    optional = optional_segments(plan)
    called = [segments for _, segments in asyncio.run(ask(plan, ())).values()]
    by_all = set.intersection(*called)
    needed = {part.name for part in plan.segments[1:]} - optional
    assert needed <= by_all
    if not any(node.routes for node in plan.nodes.values()):
        assert needed == by_all


def graph(*outputs: str) -> Graph:
    found = Graph("g").input("x", "FP32", [-1, 2])
    found.predictor("near", component="c.py:A", inputs={"x": "x"})
    found.predictor("far", component="c.py:A", inputs={"x": "x"}, **ISOLATED)
    found.predictor("other", component="c.py:A", inputs={"x": "x"}, **ISOLATED)
    found.router("pick", strategy="weighted", routes={"far": 1.0, "other": 1.0})
    found.router("same", strategy="weighted", routes={"far": 1.0})
    for name in outputs:
        found.output(name, name)
    return found


@pytest.mark.parametrize(
    ("outputs", "optional"),
    [
        (("far",), set()),
        (("near", "far"), {"far"}),
        (("far", "other"), {"far", "other"}),
        (("pick",), {"far", "other"}),
        (("same",), set()),
        (("same", "far"), set()),
    ],
)
def test_segments_that_some_requests_do_not_need(
    outputs: tuple[str, ...], optional: set[str]
) -> None:
    assert optional_segments(graph(*outputs).plan) == optional


@pytest.mark.parametrize(
    ("down", "blocked"),
    [
        ((), ()),
        (("far",), ("far", "same")),
        (("other",), ()),
        (("far", "other"), ("far", "pick", "same")),
    ],
)
def test_a_router_is_blocked_where_each_of_its_routes_is(
    down: tuple[str, ...], blocked: tuple[str, ...]
) -> None:
    assert blocked_outputs(graph("near", "far", "pick", "same").plan, down) == blocked
