from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from anabranch.router.stepping import Started


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


async def value() -> int:
    return 7


async def sleeper(*delays: float) -> int:
    for delay in delays:
        await asyncio.sleep(delay)
    return 7


def test_a_coroutine_that_never_waits_is_done_at_once() -> None:
    async def main() -> None:
        started = Started(value())
        assert (started.done, started.value) == (True, 7)

    run(main())


def test_what_is_raised_before_the_first_wait_is_raised_at_once() -> None:
    async def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        with pytest.raises(KeyError):
            Started(fail())

    run(main())


def test_a_coroutine_that_waits_goes_on_when_it_is_awaited() -> None:
    async def main() -> None:
        started = Started(sleeper(0, 0.001, 0))
        assert not started.done
        assert await started == 7

    run(main())


def test_started_nests() -> None:
    async def outer() -> int:
        inner = Started(sleeper(0, 0.001))
        return 1 + await inner

    async def main() -> None:
        assert await Started(outer()) == 8

    run(main())


def test_an_error_after_a_wait_reaches_the_one_who_awaits() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def main() -> None:
        started = Started(fail())
        with pytest.raises(KeyError):
            await started

    run(main())


def test_it_can_be_timed_out_and_cleans_up() -> None:
    cleaned = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main() -> None:
        started = Started(forever())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await started

    run(main())
    assert cleaned == [True]


def test_cancelling_the_task_cancels_the_coroutine() -> None:
    cleaned = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaned.append(True)
            raise

    async def work() -> None:
        await Started(forever())

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert cleaned == [True]


def test_timeouts_and_task_groups_inside_work_as_ever() -> None:
    async def inside() -> list[int]:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            tasks = [group.create_task(sleeper(0)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        return [task.result() for task in tasks]

    async def main() -> None:
        started = Started(inside())
        assert await started == [7, 7, 7]

    run(main())
