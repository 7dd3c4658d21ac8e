"""What is counted of nodes, wherever they run: on the loop, in threads, in batches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import AnabranchError
from anabranch.graph.calls.counts import Counts
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.telemetry import definitions
from anabranch.telemetry.definitions import MetricDefinition
from anabranch.telemetry.registry import Observed, Registry
from anabranch.telemetry.trace import Trace

NODE = ("g", "7", "n")
ONE = {"x": np.ones((1, 2), np.float32)}
BAD = {"x": -np.ones((1, 2), np.float32)}


class Guard:
    """Refuses negative numbers."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def transform(self, x: Any) -> Any:
        time.sleep(self.seconds)
        return _guarded(x)


class AsyncGuard:
    async def transform(self, x: Any) -> Any:
        await asyncio.sleep(0)
        return _guarded(x)


class Held:
    """Holds its thread until it may go on."""

    began, go_on = threading.Event(), threading.Event()

    def transform(self, x: Any) -> Any:
        self.began.set()
        self.go_on.wait(60)
        return x


class Gated:
    """Goes on when it is told to."""

    async def transform(self, x: Any, context: Context) -> Any:
        began, go_on = context.parameters["events"]
        began.set()
        await go_on.wait()
        return x


class Odd:
    """Returns what it may not, for negative numbers."""

    def transform(self, x: Any) -> Any:
        time.sleep(0.003)
        return object() if (x < 0).any() else x


class Both:
    def route(self, x: Any) -> str:
        return "left" if x[0, 0] > 0 else "right"


class Three:
    async def predict(self, x: Any) -> AsyncIterator[Any]:
        for index in range(3):
            if (x < 0).any() and index:
                raise ValueError("negative")
            yield x + index


def _guarded(x: Any) -> Any:
    if (x < 0).any():
        raise ValueError("negative")
    return x


def graph(component: Any, **options: Any) -> Graph:
    built = Graph("g").input("x", "FP32", [-1, 2])
    built.transformer("n", component=component, inputs={"x": "x"}, **options)
    return built.output("y", "n")


class Counted:
    """An executor whose counts a test can read."""

    def __init__(self, executor: HeadExecutor, registry: Registry) -> None:
        self.executor = executor
        self._registry = registry

    async def run(self, inputs: Any, times: int = 1, **context: Any) -> None:
        for _ in range(times):
            try:
                await self.executor.run(inputs, Context(**context))
            except AnabranchError:
                assert (inputs["x"] < 0).any()

    def of(self, metric: MetricDefinition) -> dict[tuple[str, ...], Any]:
        return dict(self._registry.snapshot().get(metric.name, {}))

    def number(self, metric: MetricDefinition) -> int:
        """How many values there are of the node."""
        found = self.of(metric).get(NODE)
        assert found is None or isinstance(found, Observed)
        return 0 if found is None else found.number

    def total(self, metric: MetricDefinition) -> float:
        found = self.of(metric)[NODE]
        assert isinstance(found, Observed)
        return found.total

    @property
    def errors(self) -> dict[str, Any]:
        return {labels[3]: value for labels, value in self.of(definitions.NODE_ERRORS).items()}


@asynccontextmanager
async def counted(built: Graph) -> AsyncIterator[Counted]:
    registry = Registry()
    bound = await load_nodes(built.plan, built.plan.nodes, Path.cwd())
    executor = HeadExecutor(built.plan, bound, counts=Counts("g", "7", registry))
    try:
        yield Counted(executor, registry)
    finally:
        executor.close()


@pytest.mark.parametrize(
    ("component", "args"), [(Guard, {}), (Guard, {"seconds": 0.003}), (AsyncGuard, {})]
)
def test_calls_and_failures_count_once_each(component: Any, args: dict[str, Any]) -> None:
    async def main() -> None:
        async with counted(graph(component, args=args)) as found:
            await found.run(ONE, 12)
            await found.run(BAD, 3)
            assert found.number(definitions.NODE_DURATION) == 12
            assert found.total(definitions.NODE_DURATION) >= 12 * args.get("seconds", 0)
            assert found.errors == {"NodeError": 3}
            assert found.of(definitions.NODE_IN_FLIGHT) == {NODE: 0}

    asyncio.run(main())


def test_what_a_node_may_not_return_is_a_failure_in_a_thread_too() -> None:
    async def main() -> None:
        async with counted(graph(Odd)) as found:
            await found.run(ONE, 4)
            await found.run(BAD, 2)
            assert found.number(definitions.NODE_DURATION) == 4
            assert found.errors == {"NodeError": 2}

    asyncio.run(main())


def test_calls_in_threads_tell_how_long_they_waited() -> None:
    async def main() -> None:
        async with counted(graph(Guard, args={"seconds": 0.05})) as found:
            await asyncio.gather(*(found.run(ONE) for _ in range(4)))
            assert found.number(definitions.QUEUE_DURATION) == 4
            # One thread at a time: together they wait for six, less what separates their starts.
            assert found.total(definitions.QUEUE_DURATION) >= 0.1
            assert found.total(definitions.NODE_DURATION) >= 0.2

    asyncio.run(main())


def test_what_is_under_way_shows() -> None:
    async def main() -> None:
        async with counted(graph(Gated)) as found:
            events = began, go_on = asyncio.Event(), asyncio.Event()
            running = asyncio.create_task(found.run(ONE, parameters={"events": events}))
            await began.wait()
            assert found.of(definitions.NODE_IN_FLIGHT) == {NODE: 1}
            go_on.set()
            await running
            assert found.of(definitions.NODE_IN_FLIGHT) == {NODE: 0}

    asyncio.run(main())


def test_what_nobody_waits_for_is_neither_answered_nor_failed() -> None:
    async def main() -> None:
        async with counted(graph(Held)) as found:
            running = asyncio.create_task(found.run(ONE))
            await asyncio.to_thread(Held.began.wait, 60)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            Held.go_on.set()
            assert found.number(definitions.NODE_DURATION) == 0
            assert found.errors == {}
            assert found.of(definitions.NODE_IN_FLIGHT) == {NODE: 0}

    asyncio.run(main())


def test_batches_count_once_and_their_requests_wait_each() -> None:
    options: dict[str, Any] = {"max_size": 4, "max_delay": "20ms"}

    async def main() -> None:
        built = graph(Guard, args={"seconds": 0.003}, batching=options)
        async with counted(built) as found:
            await asyncio.gather(*(found.run(ONE) for _ in range(8)))
            batches = found.number(definitions.BATCH_REQUESTS)
            assert 2 <= batches < 8
            assert found.number(definitions.NODE_DURATION) == batches
            assert found.number(definitions.BATCH_SIZE) == batches
            assert found.total(definitions.BATCH_REQUESTS) == 8
            assert found.total(definitions.BATCH_SIZE) == 8
            assert found.number(definitions.QUEUE_DURATION) == 8

    asyncio.run(main())


@pytest.mark.parametrize("batching", [None, {"max_size": 4, "max_delay": "1ms"}])
@pytest.mark.parametrize("seconds", [0.0, 0.003])
def test_what_is_no_traffic_does_not_count(batching: Any, seconds: float) -> None:
    async def main() -> None:
        built = graph(Guard, args={"seconds": seconds}, batching=batching)
        async with counted(built) as found:
            await found.run(ONE, 5, is_traffic=False)
            await found.run(BAD, 2, is_traffic=False)
            for metric in (
                definitions.NODE_DURATION, definitions.QUEUE_DURATION,
                definitions.BATCH_REQUESTS, definitions.BATCH_SIZE,
            ):  # fmt: skip
                assert found.number(metric) == 0
            assert found.errors == {}

    asyncio.run(main())


def test_routes_count_by_what_was_picked() -> None:
    built = Graph("g").input("x", "FP32", [-1, 2])
    for name in ("left", "right"):
        built.transformer(name, component=Odd if name == "left" else Guard, inputs={"x": "x"})
    built.router("pick", component=Both, inputs={"x": "x"}, routes=["left", "right"])
    built.output("y", "pick")

    async def main() -> None:
        async with counted(built) as found:
            await found.run(ONE, 3)
            await found.run(BAD, 2)
            await found.run(ONE, 9, is_traffic=False)
            assert found.of(definitions.ROUTE_REQUESTS) == {
                ("g", "7", "pick", "left"): 3,
                ("g", "7", "pick", "right"): 2,
            }
            durations = found.of(definitions.NODE_DURATION)
            assert durations["g", "7", "pick"].number == 5
            assert durations["g", "7", "left"].number == 3

    asyncio.run(main())


def test_a_stream_is_one_call() -> None:
    built = Graph("g").input("x", "FP32", [-1, 2])
    built.predictor("n", component=Three, inputs={"x": "x"})
    built.output("y", "n")

    async def main() -> None:
        async with counted(built) as found:
            async with aclosing(found.executor.stream(ONE, Context())) as results:
                assert len([result async for result in results]) == 3
            with pytest.raises(AnabranchError):
                async with aclosing(found.executor.stream(BAD, Context())) as results:
                    assert len([result async for result in results]) == 0
            assert found.number(definitions.NODE_DURATION) == 1
            assert found.errors == {"NodeError": 1}
            assert found.of(definitions.NODE_IN_FLIGHT) == {NODE: 0}

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [0.0, 0.003])
def test_a_traced_request_is_an_example(seconds: float) -> None:
    trace = Trace("ab" * 16, "cd" * 8)

    async def main() -> None:
        async with counted(graph(Guard, args={"seconds": seconds})) as found:
            await found.run(ONE, 10)
            assert not found.of(definitions.NODE_DURATION)[NODE].exemplars
            await found.run(ONE, trace=trace)
            ((_, exemplar),) = found.of(definitions.NODE_DURATION)[NODE].exemplars
            assert exemplar.trace_id == trace.trace_id

    asyncio.run(main())


def test_hops_are_told_apart_by_segment() -> None:
    registry = Registry()
    counts = Counts("g", "7", registry)
    counts.hop("net").observe(0.1)
    cells = registry.snapshot()[definitions.HOP_DURATION.name]
    assert list(cells) == [("g", "7", "net")]


def test_recoveries_are_counted_by_action() -> None:
    registry = Registry()
    counts = Counts("digits", "3", registry)
    for action in ("retry", "retry", "skip"):
        counts.recovered("net", action)
    assert registry.snapshot() == {
        definitions.NODE_RECOVERIES.name: {
            ("digits", "3", "net", "retry"): 2,
            ("digits", "3", "net", "skip"): 1,
        }
    }
