"""Random graphs, random segments: the executor against a direct reading of the language."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import NodeError, SpecError
from anabranch.graph.calls import tasks
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.examples import examples
from tests.graph.endless import EndlessWait, running

ROOT = Path(__file__).parents[1]
SUMS = ["Sum", "AsyncSum", "SlowSum", "Pair", "Fail"]
PICKS = ["Pick", "AsyncPick", "FailPick"]
CONSTANT = 7


@dataclass
class Part:
    """One node of a random graph."""

    name: str
    cls: str
    plus: int
    inputs: list[str]
    routes: list[str] = field(default_factory=list)
    on_error: dict[str, Any] | str | None = None
    quorum: int | None = None
    away: dict[str, Any] = field(default_factory=dict)


@st.composite
def graphs(draw: st.DrawFn) -> list[Part]:
    """Nodes in an order in which each needs only earlier ones."""
    parts: list[Part] = []
    sources = ["x", "y"]
    skipped: list[str] = []
    for index in range(draw(st.integers(1, 9))):
        name = f"n{index}"
        earlier = [part.name for part in parts if part.cls != "Pair" and part.on_error != "skip"]
        routed = bool(earlier) and draw(st.booleans())
        cls = draw(st.sampled_from(PICKS if routed else SUMS))
        part = Part(
            name,
            cls,
            draw(st.integers(0, 3)),
            draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3)),
        )
        if routed:
            part.routes = draw(
                st.lists(st.sampled_from(earlier), min_size=1, max_size=3, unique=True)
            )
        elif skipped and draw(st.booleans()):
            part.inputs += draw(st.lists(st.sampled_from(skipped), min_size=1, max_size=3))
            part.quorum = draw(st.integers(1, len(part.inputs)))
        if cls == "FailPick":
            part.on_error = {"use": draw(st.sampled_from(sources))}
        elif not routed and cls != "Pair" and (cls == "Fail" or draw(st.booleans())):
            uses = st.fixed_dictionaries({"use": st.sampled_from(sources)})
            others = [st.just({"value": [CONSTANT]}), *([st.just("skip")] if parts else [])]
            part.on_error = draw(st.one_of(uses, *others))
        apart = [other.name for other in parts if other.away and not other.on_error]
        if apart and not part.on_error and draw(st.booleans()):
            part.away = {"placement": {"with": draw(st.sampled_from(apart))}}
        elif draw(st.integers(0, 2)) == 0:
            part.away = draw(
                st.sampled_from([{"resources": {"cpu": 1.0}}, {"placement": {"isolate": True}}])
            )
        parts.append(part)
        if part.on_error == "skip":
            skipped.append(name)
        else:
            sources += [f"{name}.plus", f"{name}.minus"] if cls == "Pair" else [name]
    return parts


def build(parts: list[Part], placed: bool) -> Graph:
    graph = Graph("random", root=ROOT).input("x", "INT64", [1]).input("y", "INT64", [1])
    for part in parts:
        inputs = {f"i{index}": source for index, source in enumerate(part.inputs)}
        options: dict[str, Any] = dict(part.away) if placed else {}
        if part.on_error:
            options["on_error"] = part.on_error
        any_type = {"datatype": "INT64", "shape": [1]}
        if isinstance(part.on_error, dict) and "value" in part.on_error:
            options["outputs"] = {"output": any_type}
        if part.routes:
            graph.router(
                part.name,
                component=f"parts.py:{part.cls}",
                args={"name": part.name, "targets": part.routes},
                routes=part.routes,
                inputs=inputs,
                **options,
            )
            continue
        if part.cls == "Pair":
            options["outputs"] = {"plus": any_type, "minus": any_type}
        graph.combiner(
            part.name,
            component=f"parts.py:{part.cls}",
            args={"name": part.name, "plus": part.plus},
            quorum=part.quorum,
            inputs=inputs,
            **options,
        )
    for part in wanted(parts):
        graph.output(part.name, f"{part.name}.plus" if part.cls == "Pair" else part.name)
    return graph


def wanted(parts: list[Part]) -> list[Part]:
    """The nodes that the graph's outputs may name."""
    return [part for part in parts if part.on_error != "skip"]


class Failed(Exception):
    """A node failed, and nothing is to be done about it."""


class Reading:
    """Evaluates the language as it is defined: by recursion, remembering what has run."""

    def __init__(self, parts: list[Part], inputs: dict[str, int]) -> None:
        self.parts = {part.name: part for part in parts}
        self.values: dict[str, int | None] = dict(inputs)
        self.ran: set[str] = set()

    def value(self, source: str) -> int:
        found = self.maybe(source)
        assert found is not None, "only combiners with a quorum read what may be left out"
        return found

    def maybe(self, source: str) -> int | None:
        """The value of a source; None if its node was left out."""
        name, _, output = source.partition(".")
        if name not in self.values:
            self.values[name] = self.run(self.parts[name])
        found = self.values[name]
        return -found if output == "minus" and found is not None else found

    def run(self, part: Part) -> int | None:
        found = [self.maybe(source) for source in part.inputs]
        there = [value for value in found if value is not None]
        if part.quorum is not None and len(there) < part.quorum:
            return self.stand_in(part)
        self.ran.add(part.name)
        if part.cls in ("Fail", "FailPick"):
            return self.stand_in(part)
        if part.routes:
            return self.value(part.routes[sum(there) % len(part.routes)])
        return sum(there) + part.plus

    def stand_in(self, part: Part) -> int | None:
        if part.on_error is None:
            raise Failed(part.name)
        if isinstance(part.on_error, str):
            return None
        return self.value(part.on_error["use"]) if "use" in part.on_error else CONSTANT


def evaluate(
    graph: Graph, segmented: bool, inputs: dict[str, int], wants: list[str], times: int
) -> list[tuple[dict[str, int], list[str]]]:
    plan = graph.plan
    bound = asyncio.run(load_nodes(plan, plan.nodes, ROOT))
    executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
    arrays = {name: np.array([value]) for name, value in inputs.items()}
    found = []
    with running(executor) as run:
        for _ in range(times):
            log: list[str] = []
            result = run(executor.run(arrays, Context(parameters={"log": log}), wants))
            found.append(({name: int(value[0]) for name, value in result.items()}, log))
    return found


def test_a_wait_that_nothing_ends_is_told_and_a_slow_one_is_not() -> None:
    graph = Graph("slow", root=ROOT).input("x", "INT64", [1])
    graph.combiner("s", component="parts.py:SlowSum", args={"name": "s"}, inputs={"x": "x"})
    plan = graph.output("y", "s").plan
    executor = HeadExecutor(plan, asyncio.run(load_nodes(plan, plan.nodes, ROOT)))
    with running(executor) as run:
        for _ in range(3):
            assert run(executor.run({"x": np.ones(1)}, Context(parameters={"log": []}))) == {"y": 1}
        with pytest.raises(EndlessWait):
            run(asyncio.Event().wait())


@settings(max_examples=examples(300))
@given(graphs(), st.integers(0, 5), st.integers(0, 5), st.booleans(), st.data())
def test_any_graph_evaluates_as_the_language_says(
    parts: list[Part], x: int, y: int, segmented: bool, data: st.DataObject
) -> None:
    names = [part.name for part in wanted(parts)]
    wants = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    try:
        graph = build(parts, placed=segmented)
        assert graph.plan
    except SpecError as error:
        # Only what was drawn about placement can be wrong.
        assert all(problem.path[3] in ("placement", "on_error") for problem in error.problems)
        graph, segmented = build(parts, placed=False), False
    reading = Reading(parts, {"x": x, "y": y})
    try:
        expected = {name: reading.value(name) for name in wants}
    except Failed:
        with pytest.raises(NodeError, match="its quorum is"):
            evaluate(graph, segmented, {"x": x, "y": y}, wants, times=1)
        return
    # Five times, so that fast components move to the loop on the way.
    for result, log in evaluate(graph, segmented, {"x": x, "y": y}, wants, times=5):
        assert result == expected
        assert sorted(log) == sorted(reading.ran), "each node asked for runs once, and no other"


async def given_up(graph: Graph, segmented: bool, wants: list[str], turns: int) -> set[str]:
    """Cancel a request after so many turns of the loop; the names of tasks that are left."""
    bound = await load_nodes(graph.plan, graph.plan.nodes, ROOT)
    executor = loopback(graph.plan, bound) if segmented else HeadExecutor(graph.plan, bound)
    arrays = {"x": np.array([1]), "y": np.array([2])}
    request = asyncio.ensure_future(executor.run(arrays, Context(parameters={"log": []}), wants))
    for _ in range(turns):
        await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait((request,))
    left = asyncio.all_tasks() - {asyncio.current_task()}
    executor.close()
    return {str(task) for task in left}


@settings(max_examples=examples(60))
@given(graphs(), st.booleans(), st.integers(0, 12))
def test_whenever_a_request_is_given_up_none_of_its_tasks_is_left(
    parts: list[Part], segmented: bool, turns: int
) -> None:
    try:
        graph = build(parts, placed=segmented)
        assert graph.plan
    except SpecError:
        graph, segmented = build(parts, placed=False), False
    wants = [part.name for part in wanted(parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "HEED", 600.0)  # all of them heed it, on a busy machine later
        assert asyncio.run(given_up(graph, segmented, wants, turns)) == set()
