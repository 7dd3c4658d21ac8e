"""One request under way: its frame, its steps, and what still works on it.

A call into another process begins at once, outside of tasks. While it is the only thing under way,
the request itself waits for it, for a task would cost as much as the rest of the call; as soon as
anything else is under way, it goes on in a task. Requests that the call makes itself, as that of a
shared model does, are not those that the code here works for.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from anabranch.components.contract import Context
from anabranch.graph.calls.stepping import Started, started_outside
from anabranch.graph.calls.tasks import Tasks
from anabranch.graph.calls.values import UNSET
from anabranch.telemetry.logs import REQUESTS

Frame = list[Any]
Schedule = Callable[[], Sequence["Step"]]
Values: TypeAlias = Mapping[str, Any]


class Step(Protocol):
    """One step of a schedule."""

    slot: int
    leaves: bool
    needs: tuple[int, ...]
    """Slots of the values that it waits for."""

    @property
    def is_quick(self) -> bool:
        """Whether it runs here and now once its values are there, and leaves nothing under way."""

    def inline(self, frame: Frame, context: Context) -> None:
        """Run here and now."""

    def begin(self, run: Run) -> None:
        """Leave a value or a future in the slot."""

    def done(self, frame: Frame) -> bool:
        """Return whether the step has begun."""


class RemoteCall(NamedTuple):
    """A call that has begun, and the slots of the values that it is to give."""

    started: Started[Values]
    slots: Mapping[str, int]


class Run:
    """One request under way: its frame, and what still works on it."""

    __slots__ = ("_is_starting", "_lone", "_tasks", "context", "frame", "launched")

    def __init__(self, frame: Frame, context: Context, tasks: Tasks) -> None:
        self.frame = frame
        self.context = context
        self.launched = False
        self._tasks = tasks
        self._lone: RemoteCall | None = None
        """The only thing under way, for which the request itself is going to wait."""
        self._is_starting = False
        """Whether what is begun now is begun by ``start``."""

    def within(self, context: Context) -> Run:
        """Return the same request under way, with another context for what is begun in it."""
        return Run(self.frame, context, self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task; if it fails, the request fails and its other tasks are cancelled."""
        self._hand_over()
        self.launched = True
        return self._tasks.create_task(work)

    def call(self, work: Coroutine[Any, Any, Values], slots: Mapping[str, int]) -> None:
        """Begin a call at once; it leaves its values in these slots, or futures of them."""
        requests = REQUESTS.get()
        started = started_outside(work)
        REQUESTS.set(requests)
        if started.done:
            self._fill(slots, started.value)
            return
        loop = asyncio.get_running_loop()
        for slot in slots.values():
            self.frame[slot] = loop.create_future()
        one = RemoteCall(started, slots)
        if started.needs_task or self._lone or self._tasks.are_left or not self._is_starting:
            self.spawn(self._finish(one))
        else:
            self._lone = one

    async def start(self, steps: Sequence[Step]) -> None:
        """Begin every step that is not done; returns before its tasks are.

        What waits for others begins last, and without tasks where it would only wait.
        """
        waiting = []
        self._is_starting = True
        try:
            for step in steps:
                if step.done(self.frame):
                    continue
                if self._is_waiting(step):
                    waiting.append(step)
                    continue
                if self.launched and not step.leaves:
                    await self._let_leave()
                step.begin(self)
        except BaseException:
            self._hand_over()
            raise
        finally:
            self._is_starting = False
        await self._start_waiting(waiting)

    async def _let_leave(self) -> None:
        """Let what was launched leave the process before work here holds the loop."""
        self.launched = self._is_starting = False
        await asyncio.sleep(0)
        self._is_starting = True

    def _is_waiting(self, step: Step) -> bool:
        """Return whether a step waits for what is under way, or for another one that waits."""
        if self._lone is None and not self._tasks.are_left:
            return False
        frame = self.frame
        for slot in step.needs:  # noqa: SIM110 - a generator would be made for each step
            if frame[slot] is UNSET or isinstance(frame[slot], Future):
                return True
        return False

    async def _start_waiting(self, steps: Sequence[Step]) -> None:
        if self._lone is not None:
            lone, self._lone = self._lone, None
            await self._finish(lone)
            await self.start(steps)
        elif steps and all(step.is_quick for step in steps):
            await self._tasks.ended()
            for step in steps:
                await self.settle(step.needs)
            await self.start(steps)
        else:
            self.begin(steps)

    async def _finish(self, call: RemoteCall) -> None:
        requests = REQUESTS.get()
        values = await call.started
        REQUESTS.set(requests)
        self._fill(call.slots, values)

    def _fill(self, slots: Mapping[str, int], values: Values) -> None:
        for name, slot in slots.items():
            future, self.frame[slot] = self.frame[slot], values[name]
            if isinstance(future, Future) and not future.done():
                future.set_result(values[name])

    def _hand_over(self) -> None:
        """Let a task wait for the only thing under way, as it will not be that any more."""
        if self._lone is not None:
            lone, self._lone = self._lone, None
            self._tasks.create_task(self._finish(lone))

    def begin(self, steps: Sequence[Step]) -> None:
        """Begin every step that is not done, without a pause."""
        for step in steps:
            if not step.done(self.frame):
                step.begin(self)

    def pending(self, slots: Sequence[int]) -> bool:
        """True if any of the slots holds a value that is still being made."""
        frame = self.frame
        for slot in slots:  # noqa: SIM110 - a generator would be made for each step
            if isinstance(frame[slot], Future):
                return True
        return False

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
