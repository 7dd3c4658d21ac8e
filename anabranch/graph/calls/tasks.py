"""The tasks of one request: all end with it, and none can hold it.

Like ``asyncio.TaskGroup``, but one that was cancelled and does not heed it, because a component
swallows its cancellation, is left behind after ``HEED``. So a request ends in time whatever its
components do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from anabranch.errors import AnabranchError

HEED = 0.05
"""Seconds that cancelled tasks have to end before they are left behind."""


class LeftBehind:
    """Tasks that go on though they were cancelled, and since when, on the monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[asyncio.Task[Any], float] = {}

    def add(self, task: asyncio.Task[Any]) -> None:
        """Keep a task until it ends."""
        self._since[task] = time.monotonic()
        task.add_done_callback(lambda done: self._since.pop(done, None))

    def older(self, seconds: float) -> int:
        """Return how many have gone on for longer."""
        limit = time.monotonic() - seconds
        return sum(since < limit for since in self._since.values())


class Tasks:
    """Tasks that work together. Used once: ``run`` them to their end."""

    __slots__ = ("_errors", "_left_behind", "_over", "_tasks")

    def __init__(self, left_behind: LeftBehind) -> None:
        self._left_behind = left_behind
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._over: asyncio.Future[None] | None = None

    def create_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task; if it fails, all others are cancelled and its error is raised."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(self, first: Coroutine[Any, Any, None]) -> None:
        """Run ``first``, which starts tasks, and wait until all are done, or one has failed."""
        try:
            await first
            await self.ended()
        finally:
            if self._tasks:
                await self._abort()

    @property
    def are_left(self) -> bool:
        """Whether any task is not done."""
        return bool(self._tasks)

    async def ended(self) -> None:
        """Wait until all tasks are done; raise the error of one that has failed, at once."""
        if self._tasks and not self._errors:
            self._over = asyncio.get_running_loop().create_future()
            await self._over
        if self._errors:
            raise _first(self._errors)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._errors.append(error)
        if (error or not self._tasks) and self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _abort(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks, timeout=HEED)
        finally:
            for task in tasks:
                if not task.done():
                    self._left_behind.add(task)


def _first(errors: list[BaseException]) -> BaseException:
    """The error to report of several: one of ours where there is one."""
    return next((error for error in errors if isinstance(error, AnabranchError)), errors[0])
