"""Groups small calls into large ones: calls that come while one is under way go with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 1000
"""Items that go together at most."""


class Grouped(Generic[Item, Result]):
    """Does ``work`` on groups of items, one group at a time; it gives a result for each item.

    What it raises, every caller of the group gets. Items whose caller has gone are left out.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], most: int = MOST
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Wait for the result of one item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while group := self._next():
            try:
                found = await self._work([item for item, _ in group])
                for (_, future), result in zip(group, found, strict=True):
                    if not future.done():
                        future.set_result(result)
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(group) < self._most:
            one = self._waiting.popleft()
            if not one[1].done():
                group.append(one)
        return group
