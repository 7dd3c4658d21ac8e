"""Wakes those who report what a process counts, so that they need not look while nothing happens.

Requests mark the activity where they begin and end. What counts something at another time is
reported with the next mark, or after the longest rest of its reporter.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress

from anabranch.waiting import within

LINGER_S = 2.0
"""Time after the last mark for which a reporter keeps its pace, in seconds."""


class Activity:
    """Marks of one process. Any thread may mark; about 50 nanoseconds while nobody sleeps."""

    __slots__ = ("_sleepers", "marks")

    def __init__(self) -> None:
        self.marks = 0
        """How many marks there were; a few may be missing where threads mark at the same time."""
        self._sleepers: list[Callable[[], object]] = []

    def mark(self) -> None:
        """Tell that something is counted now."""
        self.marks += 1
        while self._sleepers:
            with suppress(IndexError):  # another thread may have woken the last one
                self._sleepers.pop()()

    def wake(self, sleeper: Callable[[], object]) -> None:
        """Call ``sleeper`` once, at the next mark, in the thread that marks."""
        self._sleepers.append(sleeper)

    def forget(self, sleeper: Callable[[], object]) -> None:
        """Do not call it any more."""
        with suppress(ValueError):
            self._sleepers.remove(sleeper)


class Pace:
    """Times between the reports of one reporter, in seconds.

    It reports every ``interval`` while there are marks and shortly after. Then it rests until the
    next mark, for ``longest`` at most.
    """

    def __init__(self, activity: Activity, interval: float, longest: float) -> None:
        self._activity = activity
        self._interval = interval
        self._longest = longest
        self._laps = math.ceil(LINGER_S / interval) if interval else 1
        self._quiet = 0
        """Reports since the last mark."""
        self._marks = activity.marks

    async def next(self) -> None:
        """Wait for the time of the next report, on the event loop."""
        if self._rests():
            await self._rest()
        await asyncio.sleep(self._interval)

    def next_in_thread(self, closing: threading.Event) -> bool:
        """Wait for it in a thread; True once ``closing`` is set, and a mark made after that."""
        if self._rests():
            self._rest_in_thread(closing)
        return closing.wait(self._interval)

    def _rests(self) -> bool:
        """Return whether there were no marks for long enough."""
        marks = self._activity.marks
        self._quiet = 0 if marks != self._marks else self._quiet + 1
        self._marks = marks
        return self._quiet > self._laps

    async def _rest(self) -> None:
        marked, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(marked.set)

        self._activity.wake(wake)
        try:
            if self._activity.marks == self._marks:
                await within(self._longest, marked)
        finally:
            self._activity.forget(wake)

    def _rest_in_thread(self, closing: threading.Event) -> None:
        marked = threading.Event()
        self._activity.wake(marked.set)
        if self._activity.marks == self._marks and not closing.is_set():
            marked.wait(self._longest)
        self._activity.forget(marked.set)


ACTIVITY = Activity()
"""The activity of this process."""
