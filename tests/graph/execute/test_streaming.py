"""Graphs that stream, in one process and with every node in a segment of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.annotations import FIRST_RESULT
from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest, LoadError, NodeError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.graph.endless import running

ROOT = Path(__file__).parents[1]
ONE = {"x": np.array([1])}
Use = Callable[[HeadExecutor], Coroutine[Any, Any, Any]]
both = pytest.mark.parametrize("segmented", [False, True])


def graph() -> Graph:
    return Graph("g", root=ROOT).input("x", "INT64", [-1])


def node(built: Graph, name: str, component: str, segmented: bool = False, **more: Any) -> Graph:
    options = {"inputs": {"x": "x"}, "placement": {"isolate": segmented}, **more}
    return built.predictor(name, component=f"streamers.py:{component}", **options)


def use(built: Graph, work: Use, segmented: bool = False) -> Any:
    plan = built.plan
    bound = asyncio.run(load_nodes(plan, plan.nodes, ROOT))
    executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
    with running(executor) as run:
        return run(work(executor))


def context(**parameters: Any) -> Context:
    return Context(parameters={"log": [], **parameters})


def collected(
    built: Graph, segmented: bool = False, outputs: Any = None, **parameters: Any
) -> tuple[list[dict[str, Any]], list[Any]]:
    """All results, and what was logged meanwhile."""
    asked = context(**parameters)

    async def work(executor: HeadExecutor) -> list[dict[str, Any]]:
        results = executor.stream(ONE, asked, outputs)
        return [{name: array.tolist() for name, array in one.items()} async for one in results]

    return use(built, work, segmented), asked.parameters["log"]


@both
def test_a_graph_streams_what_its_node_yields(segmented: bool) -> None:
    built = node(graph(), "count", "Count", segmented).output("y", "count")
    found, log = collected(built, segmented)
    assert found == [{"y": [1]}, {"y": [2]}, {"y": [3]}]
    assert log == [0, 1, 2, "closed"]


@both
def test_a_graph_that_does_not_stream_gives_one_result(segmented: bool) -> None:
    built = node(graph(), "once", "Once", segmented).output("y", "once").output("z", "x")
    assert collected(built, segmented) == ([{"y": [10], "z": [1]}], ["once"])


@both
def test_a_stream_that_yields_nothing_is_empty(segmented: bool) -> None:
    built = node(graph(), "count", "Count", segmented, args={"upto": 0}).output("y", "count")
    assert collected(built, segmented) == ([], ["closed"])


@both
def test_what_does_not_stream_comes_with_the_first_result(segmented: bool) -> None:
    built = node(graph(), "once", "Once", segmented)
    built = node(built, "count", "Count", segmented, inputs={"x": "once"}, args={"upto": 2})
    built = built.output("y", "count").output("z", "once")
    found, log = collected(built, segmented)
    assert found == [{"y": [10], "z": [10]}, {"y": [11]}]
    assert log == ["once", 0, 1, "closed"]


@both
def test_only_what_was_asked_for_runs(segmented: bool) -> None:
    built = node(node(graph(), "once", "Once", segmented), "count", "Count", segmented)
    built = built.output("y", "count").output("z", "once")
    assert collected(built, segmented, ["z"]) == ([{"z": [10]}], ["once"])
    assert collected(built, segmented, ["y"])[1] == [0, 1, 2, "closed"]


@both
def test_several_outputs_of_one_stream(segmented: bool) -> None:
    two = {name: {"datatype": "INT64", "shape": [-1]} for name in ("plus", "minus")}
    built = node(graph(), "two", "Two", segmented, outputs=two, args={"upto": 2})
    built = built.output("a", "two.plus").output("b", "two.minus")
    assert collected(built, segmented)[0] == [{"a": [1], "b": [-1]}, {"a": [2], "b": [-2]}]


@both
@pytest.mark.parametrize(
    ("to", "expected", "ran"),
    [
        ("count", [{"y": [1]}, {"y": [2]}], ["pick", 0, 1, "closed"]),
        ("once", [{"y": [10]}], ["pick", "once"]),
    ],
)
def test_a_router_may_lead_to_a_stream(
    segmented: bool, to: str, expected: list[Any], ran: list[Any]
) -> None:
    built = node(graph(), "count", "Count", segmented, args={"upto": 2})
    built = node(built, "once", "Once", segmented)
    built = built.router("pick", component="streamers.py:Pick", routes=["count", "once"])
    assert collected(built.output("y", "pick"), segmented, to=to) == (expected, ran)


def routed() -> Graph:
    two = {name: {"datatype": "INT64", "shape": [-1]} for name in ("plus", "minus")}
    built = node(graph(), "two", "Two", args={"upto": 2}, outputs=two)
    built = node(node(built, "count", "Count", args={"upto": 1}), "once", "Once")
    built = built.router("inner", component="streamers.py:Pick", routes=["two"])
    return built.router("outer", component="streamers.py:Pick", routes=["inner"])


def test_routers_may_follow_one_another() -> None:
    class Path:
        """First ``inner``, then ``two``."""

        def __init__(self) -> None:
            self.left = ["inner", "two"]

        def __str__(self) -> str:
            return self.left.pop(0)

    built = routed().output("a", "outer.plus").output("b", "outer.minus")
    found, log = collected(built, to=Path())
    assert found == [{"a": [1], "b": [-1]}, {"a": [2], "b": [-2]}]
    assert log == ["pick", "pick", 0, 1, "closed"]


def sticky(component: str, segmented: bool) -> Graph:
    built = graph()
    for name in ("a", "b"):
        node(built, name, component, segmented)
    options: dict[str, Any] = {"routes": {"a": 3.0, "b": 1.0}, "sticky": {"header": "x-user"}}
    return built.router("pick", strategy="weighted", **options).output("y", "pick")


@both
def test_a_sticky_caller_has_one_route_whether_it_streams_or_not(segmented: bool) -> None:
    users = [str(number) for number in range(40)]

    async def streamed(executor: HeadExecutor) -> list[str]:
        found = []
        for user in users:
            asked = Context(headers={"x-user": user}, parameters={"log": []})
            assert [one["y"].tolist() async for one in executor.stream(ONE, asked)]
            found.append(asked.path["pick"])
        return found

    async def answered(executor: HeadExecutor) -> list[str]:
        asked = [Context(headers={"x-user": user}, parameters={"log": []}) for user in users]
        for one in asked:
            await executor.run(ONE, one)
        return [one.path["pick"] for one in asked]

    routes = use(sticky("Count", segmented), streamed, segmented)
    assert routes == use(sticky("Once", segmented), answered, segmented)
    assert set(routes) == {"a", "b"}


@both
def test_two_streams_at_once_are_refused(segmented: bool) -> None:
    built = node(node(graph(), "one", "Count", segmented), "two", "Count", segmented)
    built = built.output("y", "one").output("z", "two")
    with pytest.raises(InvalidRequest, match="nodes 'one' and 'two' both stream"):
        collected(built, segmented)
    assert len(collected(built, segmented, ["z"])[0]) == 3


@both
def test_one_answer_of_a_stream_is_refused(segmented: bool) -> None:
    built = node(graph(), "count", "Count", segmented).output("y", "count")
    with pytest.raises(InvalidRequest, match="'count' streams its answer: ask generate_stream"):
        use(built, lambda executor: executor.run(ONE, context()), segmented)


@both
@pytest.mark.parametrize(
    ("component", "words"),
    [
        ("Break", "node 'a' failed: RuntimeError: no more"),
        ("Leave", "node 'a' failed: CancelledError"),
        ("Wrong", "node 'a' failed: it returned None"),
    ],
)
def test_a_failure_in_mid_stream_names_the_node(
    segmented: bool, component: str, words: str
) -> None:
    async def work(executor: HeadExecutor) -> None:
        results = executor.stream(ONE, context())
        assert (await anext(results))["y"].tolist() == [1]
        with pytest.raises(NodeError, match=words):
            await anext(results)

    use(node(graph(), "a", component, segmented).output("y", "a"), work, segmented)


@both
def test_closing_the_iterator_closes_the_components(segmented: bool) -> None:
    asked = context()

    async def work(executor: HeadExecutor) -> None:
        async with aclosing(executor.stream(ONE, asked)) as results:
            await anext(results)

    use(node(graph(), "count", "Count", segmented).output("y", "count"), work, segmented)
    assert asked.parameters["log"] == [0, "closed"]


async def give_up(call: Awaitable[Any], asked: Context) -> None:
    """Cancel a call once its component hangs."""
    task = asyncio.ensure_future(call)
    await asked.parameters["hangs"].wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@both
def test_a_cancelled_task_cancels_the_component(segmented: bool) -> None:
    asked = context(hangs=asyncio.Event())

    async def work(executor: HeadExecutor) -> None:
        results = executor.stream(ONE, asked)
        await anext(results)
        await give_up(anext(results), asked)

    use(node(graph(), "wait", "Wait", segmented).output("y", "wait"), work, segmented)
    assert asked.parameters["log"] == ["closed"]


@both
def test_a_stream_that_can_be_joined_gives_one_answer(segmented: bool) -> None:
    asked = context()

    async def work(executor: HeadExecutor) -> Any:
        whole = (await executor.run(ONE, asked))["y"].tolist()
        return whole, [one["y"].tolist() async for one in executor.stream(ONE, context())]

    built = node(graph(), "count", "Joined", segmented).output("y", "count")
    assert use(built, work, segmented) == ([6], [[1], [2], [3]])
    assert asked.parameters["log"] == [0, 1, 2, "closed"]
    (measure,) = asked.annotations.measures
    assert (measure.node, measure.kind, measure.name) == ("count", "timer", FIRST_RESULT)
    assert measure.value > 0


@both
@pytest.mark.parametrize(("component", "refused"), [("Count", True), ("Joined", False)])
def test_a_graph_says_whether_it_only_streams(
    segmented: bool, component: str, refused: bool
) -> None:
    built = node(graph(), "count", component, segmented).output("y", "count")
    assert use(built, lambda executor: executor.only_streams(), segmented) is refused


@both
def test_what_join_raises_names_the_node(segmented: bool) -> None:
    async def work(executor: HeadExecutor) -> None:
        with pytest.raises(NodeError, match="node 'count' failed: ValueError: cannot join"):
            await executor.run({"x": np.array([-5])}, context())

    use(node(graph(), "count", "Joined", segmented).output("y", "count"), work, segmented)


def test_a_joined_stream_that_is_given_up_is_closed() -> None:
    asked = context(hangs=asyncio.Event())

    async def work(executor: HeadExecutor) -> None:
        await give_up(executor.run(ONE, asked), asked)

    use(node(graph(), "wait", "JoinedWait").output("y", "wait"), work)
    assert asked.parameters["log"] == ["closed"]


def test_a_component_that_never_waits_leaves_others_the_loop() -> None:
    async def work(executor: HeadExecutor) -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        assert len([one async for one in executor.stream(ONE, context())]) == 50
        task.cancel()
        return turns

    built = node(graph(), "count", "Count", args={"upto": 50}).output("y", "count")
    assert use(built, work) >= 49


def loaded(built: Graph) -> None:
    asyncio.run(load_nodes(built.plan, built.plan.nodes, ROOT))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"idempotent": True, "retries": 1}, "`retries`"),
        ({"on_error": {"use": "once"}}, "`on_error`"),
        ({"timeout": "1s"}, "`timeout`"),
    ],
)
def test_what_only_holds_for_single_answers_is_refused(more: Any, words: str) -> None:
    built = node(node(graph(), "once", "Once"), "count", "Count", **more)
    with pytest.raises(LoadError, match=f"node 'count': it streams, and {words} is for nodes"):
        loaded(built.output("y", "count"))


def readers() -> dict[str, Graph]:
    base = node(graph(), "count", "Count").output("y", "count")
    behind = node(graph(), "count", "Count")
    behind = behind.router("pick", component="streamers.py:Pick", routes=["count"])
    backup = node(node(graph(), "count", "Count"), "once", "Once", on_error={"use": "count"})
    return {
        "a node": node(base, "once", "Once", inputs={"x": "count"}).output("z", "once"),
        "a node behind a router": node(behind, "once", "Once", inputs={"x": "pick"}).output(
            "z", "once"
        ),
        "a stand-in": backup.output("z", "once"),
    }


@pytest.mark.parametrize("case", ["a node", "a node behind a router", "a stand-in"])
def test_nothing_but_outputs_and_routers_may_read_a_stream(case: str) -> None:
    with pytest.raises(LoadError, match=r"'count': it streams, so only .* and 'once' does"):
        loaded(readers()[case])
