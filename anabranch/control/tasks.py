"""Runs work that never ends."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from anabranch.access.actor import ACTOR, ENGINE
from anabranch.waiting import within

logger = logging.getLogger("anabranch.control")

K = TypeVar("K")

_PAUSE_S = 1.0


async def forever(
    name: str, work: Callable[[], Awaitable[object]], pause: float = _PAUSE_S
) -> None:
    """Run ``work`` for ever; log it and begin again ``pause`` seconds later whenever it ends.

    The work acts as the engine, whoever has started it. To be run as a task of its own.
    """
    ACTOR.set(ENGINE)
    while True:
        try:
            await work()
            logger.error("%s has ended; starting it again", name)
        except Exception:
            logger.exception("%s has failed; starting it again", name)
        await asyncio.sleep(pause)


class WokenLoop(ABC, Generic[K]):
    """Looks for work when it is woken, and after a while anyway; on one event loop.

    What a look starts runs beside it, one task for each key: it wakes the loop at its end, and ends
    with it.
    """

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._tasks: dict[K, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look now; something was written to the store."""
        self._woken.set()

    async def run(self) -> None:
        """Look for ever, until cancelled."""
        try:
            while True:
                self._woken.clear()
                await self._until_woken(await self._round())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self._close()

    async def _close(self) -> None:
        """Let go of what the work has held."""

    @abstractmethod
    async def _round(self) -> float:
        """Look once; return the longest time until the next look, in seconds."""

    async def _until_woken(self, seconds: float) -> None:
        await within(seconds, self._woken)

    def _start(self, key: K, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the loop."""
        task = self._tasks[key] = asyncio.create_task(work)
        task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: K, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: work has failed", key, exc_info=error)
