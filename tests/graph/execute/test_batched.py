"""Graphs in which some nodes are batched give what the same graphs give without."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.components.sticky.rendezvous import Rendezvous
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.examples import examples

Array = np.ndarray[Any, Any]
REQUESTS = 12


class Add:
    """Adds its inputs and ``plus``, and counts how often it saw each row of the first input."""

    def __init__(self, plus: int, seconds: float = 0.0) -> None:
        self.plus, self.seconds, self.seen = plus, seconds, 0

    def transform(self, **inputs: Array) -> Array:
        self.seen += len(inputs["i0"])
        time.sleep(self.seconds)
        return np.asarray(sum(inputs.values()) + self.plus)


class AsyncAdd(Add):
    async def transform(self, **inputs: Array) -> Array:  # type: ignore[override]
        self.seen += len(inputs["i0"])
        await asyncio.sleep(self.seconds)
        return np.asarray(sum(inputs.values()) + self.plus)


class Pick:
    """Routes by the first number of the request."""

    def route(self, x: Array) -> str:
        return "even" if x[0, 0] % 2 == 0 else "odd"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Nodes that add what earlier ones give, some of them batched or in other processes."""
    graph, sources = Graph("g").input("x", "INT64", [-1, 2]), ["x"]
    for index in range(draw(st.integers(1, 6))):
        given = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))
        options: dict[str, Any] = {}
        if draw(st.integers(0, 3)):
            options["batching"] = {"max_size": draw(st.integers(1, 16)), "max_queue": 100}
        if draw(st.integers(0, 3)) == 0:
            options["placement"] = {"isolate": True}
        name = f"n{index}"
        graph.transformer(
            name,
            component=draw(st.sampled_from([Add, AsyncAdd])),
            args={"plus": index, "seconds": draw(st.sampled_from([0.0, 0.001]))},
            inputs={f"i{n}": source for n, source in enumerate(given)},
            **options,
        )
        sources.append(name)
    for name in sources[1:]:
        graph.output(name, name)
    return graph


def expected(graph: Graph, x: Array) -> dict[str, Array]:
    values = {"x": x}
    for name, node in graph.plan.nodes.items():
        inputs = [values[str(ref)] for ref in node.inputs.values()]
        values[name] = np.sum(inputs, axis=0) + node.spec.args["plus"]
    return values


@settings(max_examples=examples(40))
@given(graphs(), st.booleans())
def test_answers_are_those_without_and_each_node_sees_each_row_once(
    graph: Graph, segmented: bool
) -> None:
    requests = [
        np.arange(2 * n, 2 * n + 2 * (n % 3 + 1)).reshape(-1, 2) * 10 for n in range(REQUESTS)
    ]

    async def main() -> None:
        plan = graph.plan
        bound = await load_nodes(plan, plan.nodes, Path())
        executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(executor.run({"x": x}, Context()) for x in requests))
        executor.close()
        for x, answer in zip(requests, answers, strict=True):
            wanted = expected(graph, x)
            for name, value in answer.items():
                np.testing.assert_array_equal(value, wanted[name])
        rows = sum(len(x) for x in requests)
        assert {each.instance.seen for each in bound.values()} == {rows}

    asyncio.run(main())


def test_only_the_branch_that_a_router_picks_is_called() -> None:
    graph = Graph("g").input("x", "INT64", [-1, 2])
    for name in ("even", "odd"):
        graph.transformer(
            name,
            component=Add,
            args={"plus": 1, "seconds": 0.005},
            inputs={"i0": "x"},
            batching={"max_size": 64},
        )
    graph.router("pick", component=Pick, routes=["even", "odd"], inputs={"x": "x"})
    graph.output("y", "pick")

    async def main() -> None:
        plan = graph.plan
        bound = await load_nodes(plan, plan.nodes, Path())
        executor = HeadExecutor(plan, bound)
        requests = [np.full((1, 2), number) for number in range(20)]
        answers = await asyncio.gather(*(executor.run({"x": x}, Context()) for x in requests))
        executor.close()
        assert [answer["y"].tolist() for answer in answers] == [[[n + 1] * 2] for n in range(20)]
        assert [bound[name].instance.seen for name in ("even", "odd")] == [10, 10]

    asyncio.run(main())


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("sticky", [{"header": "x-user"}, {"input": "user"}])
def test_callers_that_share_a_batch_keep_their_own_routes(
    sticky: dict[str, str], segmented: bool
) -> None:
    """Before the router there is a batched node, which gives its key, and behind it are others."""
    batched: dict[str, Any] = {"batching": {"max_size": 64, "max_queue": 200}}
    graph = Graph("g").input("x", "INT64", [1, 1])
    slow = {"component": Add, "inputs": {"i0": "x"}, "placement": {"isolate": segmented}}
    graph.transformer("key", args={"plus": 7, "seconds": 0.005}, **slow, **batched)
    for name, plus in (("a", 1000), ("b", 2000)):
        graph.transformer(name, args={"plus": plus, "seconds": 0.005}, **slow, **batched)
    graph.router(
        "pick", strategy="weighted", routes=["a", "b"], sticky=sticky, inputs={"user": "key"}
    )
    graph.output("y", "pick")

    async def main() -> None:
        plan = graph.plan
        bound = await load_nodes(plan, plan.nodes, Path())
        executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
        alone = Rendezvous({"a": 1.0, "b": 1.0}, salt="pick/")
        users = list(range(50)) * 2
        async with asyncio.timeout(30):
            answers = await asyncio.gather(
                *(
                    executor.run({"x": np.array([[n]])}, Context(headers={"x-user": str(n + 7)}))
                    for n in users
                )
            )
        executor.close()
        routes = {"a": 1000, "b": 2000}
        expected = [[[n + routes[alone.pick(str(n + 7))]]] for n in users]
        assert [answer["y"].tolist() for answer in answers] == expected
        assert {value // 1000 for ((value,),) in expected} == {1, 2}

    asyncio.run(main())
