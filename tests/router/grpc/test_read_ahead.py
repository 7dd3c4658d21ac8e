from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from anabranch.router.grpc.read_ahead import Ahead


class Numbers:
    """Yields so many numbers; notes how far it came and whether it was closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.made, self.closed = 0, False

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def test_all_items_come_in_order() -> None:
    async def main() -> None:
        numbers = Numbers(10)
        async with Ahead(numbers.items(), 2) as ahead:
            assert [item async for item in ahead] == list(range(10))
        assert numbers.closed

    asyncio.run(main())


def test_an_error_comes_after_the_items_before_it() -> None:
    async def main() -> None:
        found = []
        async with Ahead(Numbers(2, ValueError("x")).items(), 5) as ahead:
            with pytest.raises(ValueError, match="x"):
                async for item in ahead:
                    found.append(item)  # noqa: PERF401  # until it raises
        assert found == [0, 1]

    asyncio.run(main())


def test_no_more_is_made_than_was_agreed() -> None:
    async def main() -> None:
        numbers = Numbers(100)
        async with Ahead(numbers.items(), 3) as ahead:
            for _ in range(20):
                await asyncio.sleep(0)
            assert numbers.made == 4  # one waits for its place
            assert await anext(ahead) == 0
        assert numbers.closed and numbers.made <= 5

    asyncio.run(main())


def test_the_last_of_what_needs_no_waiting_is_known() -> None:
    async def main() -> None:
        async with Ahead(Numbers(1).items(), 2) as ahead:
            assert await anext(ahead) == 0
            assert await ahead.ends(0) and await ahead.ends(0)
            with pytest.raises(StopAsyncIteration):
                await anext(ahead)
        async with Ahead(Numbers(2).items(), 5) as ahead:
            assert await anext(ahead) == 0
            assert not await ahead.ends(0)
            assert await anext(ahead) == 1
            assert await ahead.ends(0)

    asyncio.run(main())


def test_an_end_is_waited_for_only_so_long() -> None:
    async def pausing() -> AsyncGenerator[int, None]:
        yield 1
        await over.wait()

    over = asyncio.Event()

    async def main() -> None:
        async with Ahead(pausing(), 2) as ahead:
            assert await anext(ahead) == 1
            assert not await ahead.ends(0.01)
            asyncio.get_running_loop().call_later(0.01, over.set)
            assert await ahead.ends(10)

    asyncio.run(main())
