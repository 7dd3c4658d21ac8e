from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from anabranch.components.contracts.mlserver.loop_thread import LoopThread


@pytest.fixture
def thread():
    found = LoopThread("test-loop")
    found.start()
    found.start()
    yield found
    asyncio.run(found.stop())
    assert not [one for one in threading.enumerate() if one.name == "test-loop"]


def test_work_runs_in_the_thread(thread: LoopThread) -> None:
    async def name() -> str:
        return threading.current_thread().name

    async def main() -> list[str]:
        return [await thread.run(name()), await thread.run(name())]

    assert asyncio.run(main()) == ["test-loop", "test-loop"]


def test_a_caller_that_is_cancelled_cancels_the_work(thread: LoopThread) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        task = asyncio.create_task(thread.run(wait()))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 30)

    asyncio.run(main())


def test_an_error_comes_back(thread: LoopThread) -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        await thread.run(fail())

    with pytest.raises(ValueError, match=r"^no$"):
        asyncio.run(main())


def test_items_come_one_by_one_until_the_caller_ends(thread: LoopThread) -> None:
    made: list[int] = []
    closed = threading.Event()

    async def items() -> AsyncIterator[int]:
        try:
            for one in range(1000):
                made.append(one)
                yield one
        finally:
            closed.set()

    async def main() -> list[int]:
        found = []
        async with aclosing(thread.iterate(items())) as each:
            async for item in each:
                found.append(item)
                if len(found) == 3:
                    break
        return found

    assert asyncio.run(main()) == [0, 1, 2]
    assert closed.wait(30)
    assert made == [0, 1, 2]
