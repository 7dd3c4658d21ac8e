"""A component that holds the event loop is found, and nothing else is taken for one."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph, pulse
from anabranch.components.contract import Context
from anabranch.graph.calls import guard, lanes, watch
from anabranch.graph.calls.watch import LoopCaller, LoopWatch
from anabranch.graph.execute import steps
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from tests.waiting import until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The nodes that were found to hang, by a watch that looks often."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.01)
    monkeypatch.setattr(watch, "HANG_S", 1.0)
    one, nodes = LoopWatch(), list[str]()
    monkeypatch.setattr(steps, "WATCH", one)
    monkeypatch.setattr(guard, "WATCH", one)
    monkeypatch.setattr(lanes, "WATCH", one)

    def hung(lane: LoopCaller) -> None:
        nodes.append(lane.node)
        Holds.release.set()

    Holds.begun.clear()
    Holds.release.clear()
    Holds.locked = False
    one.start(hung)
    yield nodes
    one.stop()


class Holds:
    """Fast, until it gets a negative number; then it waits for what never comes."""

    begun, release = threading.Event(), threading.Event()
    locked = False
    """Whether it holds Python's lock meanwhile."""

    def transform(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if (x < 0).any():
            if self.locked:
                ctypes.PyDLL(None).usleep(1_500_000)
            else:
                self.begun.set()
                assert self.release.wait(60)
        return x


class HoldsAsCoroutine(Holds):
    """The same, after it has waited."""

    async def transform(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        await asyncio.sleep(0)
        return super().transform(x)


class HoldsAsStream(Holds):
    """The same, between two results."""

    async def predict(self, x: np.ndarray[Any, Any]) -> AsyncGenerator[np.ndarray[Any, Any], None]:
        yield x
        yield super().transform(x)


def run(value: int, **options: Any) -> None:
    graph = Graph("g", root=ROOT).input("x", "INT64", [-1]).output("y", "b")
    component = {"component": f"{__name__}:Holds"}
    graph.transformer("a", inputs={"x": "x"}, **{**component, **options})
    graph.transformer("b", inputs={"x": "a"}, **component)

    async def main() -> None:
        executor = HeadExecutor(graph.plan, await load_nodes(graph.plan, ["a", "b"], ROOT))
        calling = executor._evaluator._lanes._members
        while not all(lane.is_async or lane.inline for lane in calling):
            await executor.run({"x": np.array([1])}, Context())
        await executor.run({"x": np.array([value])}, Context())
        executor.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [{}, {"on_error": {"use": "x"}}, {"component": f"{__name__}:HoldsAsCoroutine"}],
)
def test_a_component_that_holds_the_loop_is_found_by_its_node(
    found: list[str], options: dict[str, Any]
) -> None:
    run(-1, **options)
    assert found == ["a"]


def test_the_process_beats_until_the_watch_itself_has_found_the_call(
    found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the supervisor might end it first, and the next one would call the node likewise."""
    counts = pulse.Pulse()
    monkeypatch.setattr(watch, "PULSE", counts)
    run(-1)
    assert found == ["a"]
    looks = round(watch.HANG_S / watch._LOOK_S)
    assert counts._count >= looks


def test_a_stream_that_holds_the_loop_is_found(found: list[str]) -> None:
    graph = Graph("g", root=ROOT).input("x", "INT64", [-1]).output("y", "a")
    graph.predictor("a", inputs={"x": "x"}, component=f"{__name__}:HoldsAsStream")

    async def main() -> None:
        executor = HeadExecutor(graph.plan, await load_nodes(graph.plan, ["a"], ROOT))
        async with aclosing(executor.stream({"x": np.array([-1])}, Context())) as results:
            assert len([result async for result in results]) == 2
        executor.close()

    asyncio.run(main())
    assert found == ["a"]


def test_a_component_in_a_thread_may_take_as_long_as_it_likes(found: list[str]) -> None:
    async def main() -> None:
        graph = Graph("g", root=ROOT).input("x", "INT64", [-1]).output("y", "a")
        graph.transformer("a", inputs={"x": "x"}, component=f"{__name__}:Holds")
        bound = await load_nodes(graph.plan, ["a"], ROOT)
        executor = HeadExecutor(graph.plan, bound, threads_only=["a"])
        for number in range(10):
            await executor.run({"x": np.array([number])}, Context())
        assert executor.off_loop == 1
        asked = asyncio.ensure_future(executor.run({"x": np.array([-1])}, Context()))
        await asyncio.to_thread(Holds.begun.wait, 60)
        assert steps.WATCH.lane is None
        Holds.release.set()
        await asked
        executor.close()

    asyncio.run(main())
    assert found == []


def test_time_in_which_nothing_can_run_is_held_against_nobody(found: list[str]) -> None:
    """Longer than what counts as a hang, but the watch could not look meanwhile either."""
    Holds.locked = True
    run(-1)
    assert found == []


def test_it_sleeps_while_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_S", 0.01)
    one = LoopWatch()
    one.start(lambda lane: pytest.fail(lane.node))
    assert not one.awake
    one.wake()
    until(lambda: not one.awake)
    assert not one._woken.is_set()
    one.stop()


class Caller:
    node, served, number = "a", ("", ""), 0


def test_many_short_calls_are_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch finds another call of the same component when it looks again."""
    one, looks = LoopWatch(), list[float]()
    one.lane = Caller()

    class BesideCalls(pulse.Pulse):
        def beat(self) -> None:
            looks.append(one.since)
            one.since += 1

    monkeypatch.setattr(watch, "_LOOK_S", 0.01)
    monkeypatch.setattr(watch, "PULSE", BesideCalls())
    assert not one._hangs()
    assert looks == [0]
