"""An event loop in a thread of its own, on which code that may block is awaited.

Coroutines of an MLServer model calculate: on the loop of the process they would hold all its
requests. What a model has made on one loop it also finds there at its next call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()
_ENDS_S = 5.0
"""Longest wait for the end of a thread, in seconds."""


class LoopThread:
    """A thread that runs an event loop from ``start`` to ``stop``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run, args=(self._loop,), name=self._name, daemon=True
            )
            self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine there; it is cancelled if the caller is."""
        assert self._loop is not None, "started"
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def iterate(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield the items of an asynchronous iterator, each of which is awaited there."""
        try:
            while (item := await self.run(_next(items))) is not _END:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await self.run(close())

    @property
    def is_started(self) -> bool:
        """Whether the thread was started, and not stopped."""
        return self._loop is not None

    async def stop(self) -> None:
        """End the thread, and wait for that, but not for work that never ends."""
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join, _ENDS_S)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)
