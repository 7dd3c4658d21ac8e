"""One request under way: its frame, its steps, and the tasks that still work on it."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from anabranch.components.contract import Context
from anabranch.graph.calls.tasks import Tasks

Frame = list[Any]
Schedule = Callable[[], Sequence["Step"]]


class Step(Protocol):
    """One step of a schedule."""

    slot: int
    leaves: bool

    def inline(self, frame: Frame, context: Context) -> None:
        """Run here and now."""

    def begin(self, run: Run) -> None:
        """Leave a value or a task in the slot."""

    def done(self, frame: Frame) -> bool:
        """Return whether the step has begun."""


class Run:
    """One request under way: its frame, and the tasks that still work on it."""

    __slots__ = ("_tasks", "context", "frame", "launched")

    def __init__(self, frame: Frame, context: Context, tasks: Tasks) -> None:
        self.frame = frame
        self.context = context
        self.launched = False
        self._tasks = tasks

    def within(self, context: Context) -> Run:
        """Return the same request under way, with another context for what is begun in it."""
        return Run(self.frame, context, self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task; if it fails, the request fails and its other tasks are cancelled."""
        self.launched = True
        return self._tasks.create_task(work)

    async def start(self, steps: Sequence[Step]) -> None:
        """Begin every step that is not done; returns before its tasks are."""
        for step in steps:
            if self.launched and not step.leaves:
                # Let what was launched leave the process before work here holds the loop.
                self.launched = False
                await asyncio.sleep(0)
            if not step.done(self.frame):
                step.begin(self)

    def begin(self, steps: Sequence[Step]) -> None:
        """Begin every step that is not done, without a pause."""
        for step in steps:
            if not step.done(self.frame):
                step.begin(self)

    def pending(self, slots: Sequence[int]) -> bool:
        """True if any of the slots holds a value that is still being made."""
        return any(isinstance(self.frame[slot], Future) for slot in slots)

    async def settle(self, slots: Sequence[int]) -> None:
        """Wait until all of the slots hold values."""
        for slot in slots:
            value = self.frame[slot]
            if isinstance(value, Future):
                self.frame[slot] = await value

    async def value(self, slot: int) -> Any:
        """The value of a slot, waiting for it if need be."""
        await self.settle((slot,))
        return self.frame[slot]
