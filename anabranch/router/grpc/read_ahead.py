"""Reads an asynchronous iterator ahead of whoever takes its items, by a bounded number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class _End(Exception):
    """The end of a generator, in the queue behind its last item."""


class Ahead(Generic[T]):
    """The items of a generator, read in a task of its own: ``async with Ahead(...) as items``.

    The generator runs in that one task from its first item to its last, as its timers need it. It
    is closed with this object, wherever it is then.
    """

    def __init__(self, items: AsyncGenerator[T, None], most: int) -> None:
        self._queue: asyncio.Queue[T | Exception] = asyncio.Queue(most)
        self._next: T | Exception | None = None
        self._task = asyncio.create_task(self._read(items))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading and close the generator."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next item, or what the generator raised."""
        item = self._next if self._next is not None else await self._queue.get()
        self._next = None
        if isinstance(item, _End):
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item

    async def ends(self, within: float) -> bool:
        """Return whether no item is left, as far as that is known within so many seconds."""
        if self._next is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(within if self._queue.empty() else None):
                    self._next = await self._queue.get()
        return isinstance(self._next, _End)

    async def _read(self, items: AsyncGenerator[T, None]) -> None:
        end: Exception = _End()
        try:
            async with aclosing(items):
                async for item in items:
                    await self._queue.put(item)
        except Exception as error:
            end = error
        await self._queue.put(end)
