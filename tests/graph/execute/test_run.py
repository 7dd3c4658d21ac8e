"""What is under way in a request, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.graph.calls.stepping import in_task
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.telemetry.logs import REQUESTS
from tests.graph.endless import running

ROOT = Path(__file__).parents[1]
ONE = {"x": np.array([1])}


class Calls:
    """Calls of segments, each of which waits until it is let go; with what became of them."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.came = asyncio.Event()
        self.cancelled: list[str] = []
        self.tasks: list[asyncio.Task[Any] | None] = []

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        (name,) = wants
        self.tasks.append(asyncio.current_task())
        self.waiting[name] = asyncio.get_running_loop().create_future()
        self.came.set()
        try:
            await self.waiting[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return {name: next(iter(values.values())) + 1}


Use = Callable[[HeadExecutor, Calls], Coroutine[Any, Any, None]]


def remote(*names: str, source: str = "x") -> Graph:
    """Nodes of other processes, which read the graph's input."""
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    for name in names:
        built.transformer(name, component="parts.py:InPlace", inputs={"x": source},
                          placement={"isolate": True})  # fmt: skip
    return built


def use(built: Graph, work: Use, call: Any = None) -> None:
    plan, calls = built.plan, Calls()
    bound = asyncio.run(load_nodes(plan, plan.head.nodes, ROOT))
    away = {segment.name: call or calls for segment in plan.segments[1:]}
    executor = HeadExecutor(plan, bound, away)

    async def main() -> None:
        await work(executor, calls)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with running(executor) as run:
        run(main())


async def begun(calls: Calls, *names: str) -> None:
    while not calls.waiting.keys() >= {*names}:
        calls.came.clear()
        await calls.came.wait()


def asked(executor: HeadExecutor) -> asyncio.Task[Any]:
    return asyncio.create_task(executor.run(ONE, Context(parameters={"log": []})))


def test_a_request_waits_itself_for_its_only_call() -> None:
    built = remote("r").combiner("max", strategy="max", inputs=["r", "x"]).output("y", "max")

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        for _ in range(5):
            calls.waiting.clear()
            request = asked(executor)
            await begun(calls, "r")
            assert asyncio.all_tasks() == {asyncio.current_task(), request}
            calls.waiting["r"].set_result(None)
            assert (await request)["y"] == [2]
        assert calls.tasks == [None] * 5

    use(built, work)


def test_calls_that_follow_each_other_need_no_task_either() -> None:
    built = remote("r")
    built.transformer("s", component="parts.py:InPlace", inputs={"x": "r"},
                      placement={"isolate": True}).output("y", "s")  # fmt: skip

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        request = asked(executor)
        for name in ("r", "s"):
            await begun(calls, name)
            assert asyncio.all_tasks() == {asyncio.current_task(), request}
            calls.waiting[name].set_result(None)
        assert (await request)["y"] == [3]

    use(built, work)


@pytest.mark.parametrize("order", [("r", "s"), ("s", "r")])
def test_calls_beside_each_other_are_waited_for_together(order: tuple[str, ...]) -> None:
    built = remote("r", "s").combiner("max", strategy="max", inputs=["r", "s"]).output("y", "max")

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        request = asked(executor)
        await begun(calls, *order)
        for name in order:
            calls.waiting[name].set_result(None)
        assert (await request)["y"] == [2]

    use(built, work)


@pytest.mark.parametrize("failing", ["r", "s"])
def test_a_call_that_fails_ends_those_beside_it(failing: str) -> None:
    built = remote("r", "s").output("r", "r").output("s", "s")

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        request = asked(executor)
        await begun(calls, "r", "s")
        calls.waiting[failing].set_exception(Unavailable("gone"))
        with pytest.raises(Unavailable, match="gone"):
            await request
        assert calls.cancelled == [{"r": "s", "s": "r"}[failing]]

    use(built, work)


@pytest.mark.parametrize("names", [("r",), ("r", "s")])
def test_a_request_that_is_cancelled_cancels_its_calls(names: tuple[str, ...]) -> None:
    built = remote(*names)
    for name in names:
        built.output(name, name)

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        request = asked(executor)
        await begun(calls, *names)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert sorted(calls.cancelled) == [*names]

    use(built, work)


def test_a_node_here_that_fails_cancels_the_only_call() -> None:
    built = remote("r").combiner("boom", component="parts.py:Fail", args={"name": "boom"},
                                 inputs={"x": "x"})  # fmt: skip
    built.output("r", "r").output("y", "boom")

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        for number in range(1, 6):
            with pytest.raises(NodeError, match="no luck"):
                await asked(executor)
            assert calls.cancelled == ["r"] * number

    use(built, work)


def test_a_call_that_needs_a_task_gets_one() -> None:
    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Any:
        await in_task()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return {wants[0]: values["x"]}

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        assert (await asked(executor))["y"] == [1]

    use(remote("r").output("y", "r"), work, call)


def test_a_call_that_does_not_wait_gives_its_values_at_once() -> None:
    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Any:
        return {wants[0]: values["x"]}

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        assert (await executor.run(ONE, Context()))["y"] == [1]

    use(remote("r").output("y", "r"), work, call)


def test_requests_that_a_call_makes_are_not_those_of_the_caller() -> None:
    built = remote("r").combiner("max", strategy="max", inputs=["r", "x"]).output("y", "max")

    async def call(
        values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            REQUESTS.set(())
            answer = loop.create_future()
            loop.call_soon(answer.set_result, None)
            await answer
            REQUESTS.set(())
        return dict.fromkeys(wants, ONE["x"])

    async def work(executor: HeadExecutor, calls: Calls) -> None:
        context = Context(parameters={"log": []})
        await executor.run(ONE, context)
        assert REQUESTS.get() == (context,)

    use(built, work, call)
