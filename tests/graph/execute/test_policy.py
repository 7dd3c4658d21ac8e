"""Attempts, budgets, time-outs and stand-ins, in this process and around calls to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, InvalidRequest, NodeError, Unavailable
from anabranch.graph.calls.stepping import begin
from anabranch.graph.execute import policy
from anabranch.graph.execute.budget import START
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from anabranch.specs.units import Duration

ROOT = Path(__file__).parents[1]
ONE = {"x": np.array([1])}
INT = {"output": ("INT64", [1])}
Call = Callable[[Mapping[str, Any], tuple[str, ...], Context], Awaitable[Mapping[str, Any]]]


def graph(cls: str, name: str = "a", **options: Any) -> Graph:
    """x → a → y, where ``a`` is a component of ``parts.py``."""
    built = Graph("g", root=ROOT).input("x", "INT64", [1])
    args = {"name": name, **options.pop("args", {})}
    built.combiner(name, component=f"parts.py:{cls}", args=args, inputs={"x": "x"}, **options)
    return built.output("y", name)


async def run(executor: HeadExecutor, context: Context | None = None) -> tuple[int, list[str]]:
    log: list[str] = []
    context = context or Context()
    context.parameters = {"log": log}
    found = await executor.run(ONE, context)
    return int(found["y"][0]), log


async def executor_of(
    built: Graph, *, segmented: bool = False, notice: policy.Notice = policy.unnoticed
) -> HeadExecutor:
    bound = await load_nodes(built.plan, built.plan.nodes, ROOT)
    return loopback(built.plan, bound) if segmented else HeadExecutor(built.plan, bound, {}, notice)


def of_calls(built: Graph, call: Call) -> HeadExecutor:
    """An executor whose segments are all one function."""
    return HeadExecutor(built.plan, {}, {part.name: call for part in built.plan.segments[1:]})


AWAY = {"placement": {"isolate": True}}
AGAIN = {"idempotent": True, "retries": 3}


def test_the_time_of_an_attempt_may_begin_outside_of_tasks() -> None:
    """As all calls from other processes do."""
    attempts = policy.RecoveryPolicy("a", policy.unnoticed, timeout=Duration.parse("20s"))

    async def attempt() -> int:
        await asyncio.sleep(0)
        return 7

    async def main() -> int:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[int] = loop.create_future()

        async def ask() -> None:
            nothing: Any = None
            found.set_result(await attempts.apply(attempt, nothing))

        loop.call_soon(begin, ask(), loop)
        return await asyncio.wait_for(found, 60)

    assert asyncio.run(main()) == 7


@pytest.mark.parametrize("place", [{}, AWAY])
def test_retries_stay_within_a_fifth_of_the_requests(place: dict[str, Any]) -> None:
    async def main() -> int:
        executor = await executor_of(graph("Fail", **AGAIN, **place), segmented=bool(place))
        calls = 0
        for _ in range(200):
            log: list[str] = []
            with pytest.raises(NodeError, match="no luck"):
                await executor.run(ONE, Context(parameters={"log": log}))
            calls += len(log)
        executor.close()
        return calls

    assert asyncio.run(main()) == 200 + START + 40


def test_no_retry_begins_that_could_not_end_in_time() -> None:
    async def main() -> list[str]:
        executor = await executor_of(graph("Fail", **AGAIN))
        log: list[str] = []
        with pytest.raises(NodeError):
            await executor.run(ONE, Context(parameters={"log": log}, deadline=time.monotonic()))
        executor.close()
        return log

    assert asyncio.run(main()) == ["a"]


def test_each_attempt_has_a_time_of_its_own() -> None:
    calls = 0

    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Mapping[str, Any]:
        nonlocal calls
        calls += 1
        if calls < 3:
            await asyncio.sleep(60)
        return {"a": np.array([5])}

    built = graph("Sum", **AGAIN, **AWAY, timeout="50ms")
    assert asyncio.run(run(of_calls(built, call)))[0] == 5
    assert calls == 3


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Unavailable("gone"), 4),
        (DeadlineExceeded("late"), 4),
        (NodeError("a", "broken"), 4),
        (InvalidRequest("bad"), 1),
    ],
)
def test_what_is_tried_again(error: Exception, calls: int) -> None:
    made = 0

    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Mapping[str, Any]:
        nonlocal made
        made += 1
        raise error

    with pytest.raises(type(error)):
        asyncio.run(run(of_calls(graph("Sum", **AGAIN, **AWAY), call)))
    assert made == calls


def pair(first: dict[str, Any], second: dict[str, Any]) -> Graph:
    """x → a → b → y, where both share a segment."""
    built = graph("Sum", args={"plus": 1}, **first, placement={"isolate": None, "with": "b"})
    built.combiner("b", component="parts.py:Flaky", args={"name": "b", "failures": 1},
                   inputs={"x": "a"}, resources={"cpu": 1.0}, **second)  # fmt: skip
    return built.output("z", "b")


@pytest.mark.parametrize(
    ("first", "log"),
    [({"idempotent": True}, ["a", "b", "a", "b"]), ({}, ["a", "b", "b"])],
)
def test_a_segment_is_called_again_only_if_that_harms_none_of_its_nodes(
    first: dict[str, Any], log: list[str]
) -> None:
    """Else only the node is called again, in its own process."""

    async def main() -> list[str]:
        executor = await executor_of(pair(first, AGAIN), segmented=True)
        found: list[str] = []
        result = await executor.run(ONE, Context(parameters={"log": found}))
        assert result["z"] == [2]
        executor.close()
        return found

    assert asyncio.run(main()) == log


def test_a_stand_in_is_taken_even_from_a_component_that_has_long_been_fast() -> None:
    built = graph("Moody", on_error={"value": [9]}, outputs=INT)

    async def main() -> list[int]:
        executor = await executor_of(built)
        found = [(await run(executor))[0] for _ in range(20)]
        while executor.off_loop:  # a busy machine may make a few of them look slow
            await run(executor)
        context = Context(headers={"mood": "bad"})
        found.append((await run(executor, context))[0])
        executor.close()
        return found

    assert asyncio.run(main()) == [1] * 20 + [9]


@pytest.mark.parametrize(
    ("on_error", "told"),
    [({"use": "x"}, "use"), ({"value": [4]}, "value")],
)
def test_what_is_done_is_told_and_logged(
    on_error: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    notices: list[tuple[str, str]] = []

    async def main() -> None:
        built = graph("Fail", on_error=on_error, outputs=INT, idempotent=True, retries=1)
        executor = await executor_of(built, notice=lambda *found: notices.append(found))
        for _ in range(3):
            await run(executor)
        executor.close()

    asyncio.run(main())
    assert notices == [("a", "retry"), ("a", told)] * 3
    (line,) = (one.message for one in caplog.records if one.name == "anabranch.graph")
    assert line.startswith("retry for node 'a': node 'a' failed: RuntimeError: no luck (")


def test_a_remote_node_that_is_unavailable_is_stood_in_for() -> None:
    async def call(values: Any, wants: tuple[str, ...], context: Context) -> Mapping[str, Any]:
        raise Unavailable("no replica")

    built = graph("Sum", outputs={"output": ("INT64", [-1])}, on_error={"value": 3}, **AWAY)
    assert asyncio.run(run(of_calls(built, call)))[0] == 3


@pytest.mark.parametrize("place", [{}, AWAY])
def test_a_router_that_cannot_decide_gives_its_stand_in(place: dict[str, Any]) -> None:
    built = graph("Sum", args={"plus": 5})
    built.router("r", component="parts.py:FailPick", args={"name": "r", "targets": ["a"]},
                 routes=["a"], inputs={"x": "x"}, on_error={"use": "x"}, **place)  # fmt: skip
    built.output("z", "r")

    async def main() -> int:
        executor = await executor_of(built, segmented=bool(place))
        found = await executor.run(ONE, Context(parameters={"log": []}), ["z"])
        executor.close()
        return int(found["z"][0])

    assert asyncio.run(main()) == 1
