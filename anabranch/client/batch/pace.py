"""How many requests a job has under way: as many as do not make each other, or others, wait.

The requests of a job are to use what the graph has left. So the window follows their own delay,
as LEDBAT's does (RFC 6817): it grows while a request takes about as long as one without a queue,
and shrinks as requests take longer than that. A refusal halves it, once for all requests that were
under way then. The time without a queue is the least of the last minutes, so that a graph that has
become slower does not hold the job back for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GAIN = 1.0
"""Growth of the window for each full window of requests that did not wait."""
TARGET_SHARE, TARGET_S = 0.25, 0.002
"""Waiting that a job's requests may cause: a share of the time without a queue, or in seconds."""
HISTORY_S, HISTORIES = 30.0, 4
"""Time without a queue is the least of so many spans of so many seconds."""


class Window:
    """The most requests that may be under way, from 1 to ``most``; pure."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 1.0
        self._least: deque[tuple[float, float]] = deque(maxlen=HISTORIES)
        """The least time of a request in each span, after the time at which the span began."""
        self._refused_at = float("-inf")

    @property
    def size(self) -> int:
        """The number of requests."""
        return int(self._size)

    def answered(self, now: float, seconds: float) -> None:
        """Note a request that was answered ``now``, after so many seconds."""
        least = self._learn(now, seconds)
        target = max(TARGET_S, TARGET_SHARE * least)
        unused = (target - (seconds - least)) / target
        self._size += GAIN * max(-1.0, unused) / self._size
        self._size = min(max(self._size, 1.0), self._most)

    def refused(self, now: float, began: float) -> None:
        """Note a request that ``began`` then and was refused, or failed for want of a place."""
        if began > self._refused_at:
            self._size = max(1.0, self._size / 2)
            self._refused_at = now

    def _learn(self, now: float, seconds: float) -> float:
        spans = self._least
        if not spans or now - spans[-1][0] > HISTORY_S:
            spans.append((now, seconds))
        elif seconds < spans[-1][1]:
            spans[-1] = (spans[-1][0], seconds)
        return min(least for _, least in spans)


class JobGate:
    """Lets as many requests through at a time as the window has places, and rows at a rate."""

    def __init__(self, most: int, rate: float | None = None) -> None:
        self._window = Window(most)
        self._inside = self._alone = 0
        """Requests under way, and those that are to be alone, or wait for that."""
        self._changed = asyncio.Condition()
        self._rate = rate
        self._due = 0.0

    @asynccontextmanager
    async def place(self, rows: int, alone: bool = False) -> AsyncIterator[None]:
        """Hold a place for a request with so many rows, or if ``alone`` the only one."""
        self._alone += alone
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._has_room(alone))
                self._inside += 1
            try:
                await self._keep_rate(rows)
                yield
            finally:
                self._inside -= 1
        finally:
            self._alone -= alone
            async with self._changed:
                self._changed.notify_all()

    def _has_room(self, alone: bool) -> bool:
        if alone or self._alone:
            return alone and not self._inside
        return self._inside < self._window.size

    def answered(self, began: float) -> None:
        """Note an answer to a request that ``began`` then on the monotonic clock."""
        now = time.monotonic()
        self._window.answered(now, now - began)

    def refused(self, began: float) -> None:
        """Note a refusal, likewise."""
        self._window.refused(time.monotonic(), began)

    async def _keep_rate(self, rows: int) -> None:
        if self._rate is None:
            return
        now = time.monotonic()
        start = max(now, self._due)
        self._due = start + rows / self._rate
        await asyncio.sleep(start - now)
