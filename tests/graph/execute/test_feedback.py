"""Rewards on their way to components: in the process, in segments, while requests run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context, NodeFeedback
from anabranch.errors import Unavailable
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.feedback import FeedbackTakers
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes

SOURCE = """
import asyncio
import threading

LOG = []


class Learns:
    def __init__(self, name, fails=False):
        self.name, self.fails = name, fails

    def predict(self, x):
        return x

    def feedback(self, given):
        LOG.append((self.name, given.reward, threading.current_thread().name))
        if self.fails:
            raise RuntimeError("it has learned enough")


class Awaits(Learns):
    async def predict(self, x):
        return x

    async def feedback(self, given):
        await asyncio.sleep(0)
        LOG.append((self.name, given.reward, given.path))


class AwaitsOnly(Learns):
    async def predict(self, x):
        return x


class Ignores:
    def __init__(self, name, fails=False): ...

    def predict(self, x):
        return x


class Waits:
    def __init__(self, name, fails=False):
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.calls = []

    def predict(self, x):
        self.calls.append("predict")
        return x

    def feedback(self, given):
        self.begun.set()
        self.may_end.wait(30)
        self.calls.append("feedback")
"""
GIVEN = NodeFeedback("7", 0.5, path={"r": "a"})


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Any]:
    """Run a coroutine function with the head of a graph of two routes, each of one class."""
    (tmp_path / "learners.py").write_text(SOURCE)

    def run(
        cls: str,
        work: Callable[[HeadExecutor, Any], Awaitable[Any]],
        segmented: bool = False,
        **args: Any,
    ) -> tuple[Any, list[Any]]:
        graph = Graph("g", root=tmp_path).input("x", "INT64", [-1])
        for name in ("a", "b"):
            graph.predictor(
                name, component=f"learners.py:{cls}", args={"name": name, **args},
                inputs={"x": "x"}, placement={"isolate": segmented},
            )  # fmt: skip
        graph.router("r", strategy="weighted", routes={"a": 1, "b": 0}).output("y", "r")

        async def main() -> Any:
            bound = await load_nodes(graph.plan, graph.plan.nodes, tmp_path)
            head = loopback(graph.plan, bound) if segmented else HeadExecutor(graph.plan, bound)
            try:
                async with asyncio.timeout(60):
                    found = await work(head, bound)
            finally:
                head.close()
            module: Any = sys.modules[type(bound["a"].instance).__module__]
            return found, module.LOG

        return asyncio.run(main())

    return run


async def give(head: HeadExecutor, bound: Any) -> bool:
    return await head.feedback.give(GIVEN)


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("cls", ["Learns", "Awaits", "AwaitsOnly"])
def test_a_reward_goes_to_the_route_that_was_taken(ask: Any, cls: str, segmented: bool) -> None:
    found, log = ask(cls, give, segmented)
    assert found is True
    assert [entry[:2] for entry in log] == [("a", 0.5)]
    if cls != "Awaits":
        assert log[0][2] != threading.main_thread().name


@pytest.mark.parametrize("segmented", [False, True])
def test_nobody_takes_a_reward_of_a_graph_without_learners(ask: Any, segmented: bool) -> None:
    async def work(head: HeadExecutor, bound: Any) -> Any:
        return head.feedback.is_any, await give(head, bound)

    assert ask("Ignores", work, segmented) == ((False, False), [])


def test_what_a_component_raises_is_logged(ask: Any, caplog: Any) -> None:
    _, log = ask("Learns", give, fails=True)
    assert len(log) == 1
    assert "node 'a' did not take a reward" in caplog.text
    assert "it has learned enough" in caplog.text


class Away:
    """A segment that cannot be asked now."""

    async def feedback(self, given: NodeFeedback) -> bool:
        raise Unavailable("no replica is healthy")


def test_a_segment_that_is_away_may_take_the_next_reward(caplog: Any) -> None:
    graph = Graph("g").input("x", "INT64", [-1])
    graph.transformer("a", method="scale", args={"multiply_by": 2}, inputs={"x": "x"})
    graph.output("y", "a")
    takers = FeedbackTakers(graph.plan, {}, {"a": Away()}, {})
    assert asyncio.run(takers.give(GIVEN))
    assert "segment 'a' did not take a reward: no replica is healthy" in caplog.text


def test_the_loop_goes_on_and_a_request_waits_for_the_component_alone(ask: Any) -> None:
    async def work(head: HeadExecutor, bound: Any) -> Any:
        component = bound["a"].instance
        for _ in range(8):  # a component this fast would run on the loop, if it took no rewards
            await head.run({"x": np.array([1])}, Context())
        component.calls.clear()
        learning = asyncio.create_task(give(head, bound))
        assert await asyncio.to_thread(component.begun.wait, 30)
        asked = asyncio.create_task(head.run({"x": np.array([1])}, Context()))
        await asyncio.sleep(0)
        assert not asked.done()
        component.may_end.set()
        await learning
        await asked
        return component.calls

    found, _ = ask("Waits", work)
    assert found == ["feedback", "predict"]
