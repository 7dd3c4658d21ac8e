"""The tasks of a request end with it, and none can hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.graph.calls.interrupt import STUCK
from anabranch.graph.calls.tasks import LeftBehind, Tasks
from anabranch.graph.execute import executor as executors
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes

ROOT = Path(__file__).parents[1]


async def nothing() -> None:
    """What starts no task."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing(error: Exception, turns: int = 1) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise error


async def deaf(release: asyncio.Event) -> None:
    while not release.is_set():
        with suppress(asyncio.CancelledError):
            await release.wait()


async def others() -> None:
    """Wait until all other tasks have ended."""
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=60)
    await asyncio.sleep(0)


def together(*work: Coroutine[Any, Any, Any]) -> tuple[Tasks, Coroutine[Any, Any, None]]:
    tasks = Tasks(LeftBehind())

    async def first() -> None:
        for one in work:
            tasks.create_task(one)

    return tasks, first()


def test_it_waits_for_all_also_for_those_that_start_later() -> None:
    async def main() -> list[str]:
        found: list[str] = []
        tasks = Tasks(LeftBehind())

        async def step(depth: int) -> None:
            await asyncio.sleep(0)
            if depth:
                tasks.create_task(step(depth - 1))
            found.append(str(depth))

        async def first() -> None:
            tasks.create_task(step(3))

        await tasks.run(first())
        return found

    assert asyncio.run(main()) == ["3", "2", "1", "0"]


def test_nothing_to_wait_for() -> None:
    asyncio.run(Tasks(LeftBehind()).run(nothing()))


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_the_first_failure_ends_all(turns: int) -> None:
    async def main() -> None:
        tasks, first = together(for_ever(), failing(ValueError("one"), turns), for_ever())
        with pytest.raises(ValueError, match="one"):
            await tasks.run(first)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_an_error_of_ours_is_told_before_others() -> None:
    async def main() -> None:
        tasks, first = together(failing(ValueError("one")), failing(NodeError("a", "two")))
        with pytest.raises(NodeError, match="two"):
            await tasks.run(first)

    asyncio.run(main())


def test_what_the_beginning_raises_ends_all() -> None:
    async def main() -> None:
        tasks = Tasks(LeftBehind())

        async def first() -> None:
            tasks.create_task(for_ever())
            await failing(KeyError("at once"))

        with pytest.raises(KeyError):
            await tasks.run(first())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_cancelling_it_cancels_all() -> None:
    async def main() -> None:
        tasks, first = together(for_ever(), for_ever())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await tasks.run(first)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_does_not_heed_its_cancellation_is_left_behind() -> None:
    async def main() -> None:
        left, release = LeftBehind(), asyncio.Event()
        tasks = Tasks(left)

        async def first() -> None:
            tasks.create_task(deaf(release))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await tasks.run(first())
        assert left.older(-1) == 1
        assert left.older(60) == 0
        release.set()
        await others()
        assert left.older(-1) == 0

    asyncio.run(main())


def test_a_component_that_swallows_its_cancellation_does_not_hold_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "MAX_LEFT_BEHIND", 3)
    graph = Graph("g", root=ROOT).input("x", "INT64", [1]).output("y", "a")
    graph.transformer("a", component="parts.py:Deaf", inputs={"x": "x"})

    async def main() -> str | None:
        bound = await load_nodes(graph.plan, graph.plan.nodes, ROOT)
        executor = HeadExecutor(graph.plan, bound)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await executor.run({"x": np.array([1])}, Context())
        assert executor.stuck is None
        now = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr("anabranch.graph.calls.tasks.time.monotonic", lambda: now + STUCK + 1)
            found = executor.stuck
        bound["a"].instance.release.set()
        await others()
        executor.close()
        return found

    assert asyncio.run(main()) == "3 calls or more go on that were cancelled 30s ago"
