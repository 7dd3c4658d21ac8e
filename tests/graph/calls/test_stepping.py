from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from anabranch.graph.calls.stepping import Started, begin, in_task


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


# Coroutines that begin outside of tasks


def outside(
    work: Callable[[], Coroutine[Any, Any, Any]],
) -> tuple[bool, Any, BaseException | None]:
    """Begin a coroutine in a callback; whether it went on in a task, its result, its error."""

    async def main() -> tuple[bool, Any, BaseException | None]:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = loop.create_future()
        results: list[Any] = []

        async def kept() -> None:
            results.append(await work())

        def callback() -> None:
            assert asyncio.current_task() is None
            try:
                over.set_result(begin(kept(), loop))
            except Exception as error:
                over.set_exception(error)

        loop.call_soon(callback)
        try:
            task = await over
            if task is not None:
                await task
        except (Exception, asyncio.CancelledError) as error:
            return over.exception() is None, None, error
        return task is not None, results[0], None

    found: tuple[bool, Any, BaseException | None] = run(main())
    return found


def test_one_that_never_waits_needs_no_task() -> None:
    assert outside(value) == (False, 7, None)
    assert outside(sleeper) == (False, 7, None)


@pytest.mark.parametrize("delays", [(0,), (0.001,), (0, 0, 0.001, 0)])
def test_one_that_waits_goes_on_in_a_task(delays: tuple[float, ...]) -> None:
    assert outside(lambda: sleeper(*delays)) == (True, 7, None)


@pytest.mark.parametrize("waits", [False, True])
def test_what_it_raises_comes_out(waits: bool) -> None:
    async def fail() -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("x")

    in_a_task, _, error = outside(fail)
    assert in_a_task == waits
    assert repr(error) == "KeyError('x')"


def test_from_in_task_on_there_is_a_task() -> None:
    async def work() -> bool:
        assert asyncio.current_task() is None
        await in_task()
        task = asyncio.current_task()
        await in_task()
        assert asyncio.current_task() is task
        async with asyncio.timeout(5):
            await sleeper(0)
        return task is not None

    assert outside(work) == (True, True, None)


def test_in_task_does_nothing_in_a_task() -> None:
    async def main() -> None:
        await in_task()
        started = Started(in_task_once())
        assert started.done

    async def in_task_once() -> None:
        await in_task()

    run(main())


@pytest.mark.parametrize("first", [None, 0, 0.001])
def test_what_was_started_outside_goes_on_inside(first: float | None) -> None:
    """As a request does: its work begins outside, its timer is set inside."""

    async def inner() -> bool:
        if first is not None:
            await asyncio.sleep(first)
        await in_task()
        async with asyncio.timeout(5):
            await sleeper(0, 0.001)
        return asyncio.current_task() is not None

    async def work() -> bool:
        running = Started(inner())
        assert not running.done
        await in_task()
        async with asyncio.timeout(5):
            return await running

    assert outside(work) == (True, True, None)


def test_a_future_that_many_wait_for_at_once() -> None:
    """Each of them claims it, and asyncio checks the claim of the one that yields it."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        found: list[int] = []
        tasks: list[asyncio.Task[None] | None] = []

        async def wait() -> None:
            found.append(await future)

        async def wait_later() -> None:
            started = Started(wait())
            await in_task()
            await started

        def callback() -> None:
            tasks.extend(begin(work(), loop) for work in (wait, wait_later) * 3)

        tasks.append(asyncio.create_task(wait()))
        loop.call_soon(callback)
        tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        loop.call_soon(future.set_result, 7)
        await asyncio.gather(*(task for task in tasks if task is not None))
        return found

    assert run(main()) == [7] * 8


def test_a_future_that_is_done_or_cancelled_before_its_task_begins() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        found: list[Any] = []

        async def wait(future: asyncio.Future[int]) -> None:
            try:
                found.append(await future)
            except asyncio.CancelledError as error:
                found.append(type(error))

        def callback() -> None:
            done: asyncio.Future[int] = loop.create_future()
            cancelled: asyncio.Future[int] = loop.create_future()
            tasks.extend(begin(wait(future), loop) for future in (done, cancelled))
            done.set_result(7)
            cancelled.cancel()

        tasks: list[asyncio.Task[None] | None] = []
        loop.call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.gather(*(task for task in tasks if task is not None))
        return found

    assert run(main()) == [7, asyncio.CancelledError]


def test_a_task_that_is_cancelled_before_its_first_step_ends_the_coroutine() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0)
                seen.append("cleaned")
                raise

        def callback() -> None:
            task = begin(work(), loop)
            assert task is not None
            task.cancel()
            tasks.append(task)

        tasks: list[asyncio.Task[None]] = []
        loop.call_soon(callback)
        await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        return seen

    assert run(main()) == ["cancelled", "cleaned"]


def test_it_has_a_context_of_its_own_for_all_of_its_life() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)

    async def main() -> tuple[list[int], int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        tasks: list[asyncio.Task[None] | None] = []

        async def work() -> None:
            token = variable.set(variable.get() + 1)
            await asyncio.sleep(0)
            seen.append(variable.get())
            variable.reset(token)
            seen.append(variable.get())

        def callback() -> None:
            variable.set(5)
            tasks.extend(begin(work(), loop) for _ in range(2))
            seen.append(variable.get())

        loop.call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.gather(*(task for task in tasks if task is not None))
        return seen, variable.get()

    assert run(main()) == ([5, 6, 5, 6, 5], 0)
