"""Turns of offline work: requests of the lowest priority, which only use what others leave.

While there are requests of other priorities, one of the lowest begins at a time, when none of the
others is in progress, and then as much time passes as leaves ``SHARE`` of it to such requests. So
another request meets one of them seldom, and never a queue of them. Where nobody else has asked for
a while, they begin as they come. None waits longer than ``LONGEST_S`` for others. Those that wait
have places of the gate, so most places are kept from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from anabranch.errors import Unavailable
from anabranch.graph.batch.batching import LOWEST_LEVEL, PRIORITY
from anabranch.graph.calls.stepping import in_task
from anabranch.router.admission.admission import Admission
from anabranch.waiting import within

T = TypeVar("T")

SHARE = 0.1
"""Most of the time that offline work takes beside other requests."""
QUIET_S = 1.0
"""Time without any other request, after which offline work has all."""
LONGEST_S = 1.0
_WAITING = 4
"""One of so many places of the gate may have an offline request that waits."""


def is_offline(parameters: Mapping[str, Any]) -> bool:
    """Return whether a request is offline work, by its parameters."""
    priority = parameters.get(PRIORITY)
    return type(priority) is int and priority >= LOWEST_LEVEL


class OfflineTurns:
    """The offline requests of one gate; ``clock`` gives monotonic seconds."""

    def __init__(self, gate: Admission, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate = gate
        self._clock = clock
        self._inside = self._came = self._running = 0
        """Offline requests that wait or run, that ever came, and that run."""
        self._others = self._others_came = 0
        """Other requests in progress, and that ever came, at the last look."""
        self._quiet_at = self._rest_until = float("-inf")
        """Times from which there were no others for ``QUIET_S``, and have had their share."""
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        """Wakes the next offline request: the last of the others has left, or one has run."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run an offline request, which has its place inside the gate, when it is its turn.

        Raise Unavailable where as many wait as may.
        """
        self._came += 1
        waiting, most = self._inside - self._running, max(1, self._gate.limit // _WAITING)
        if waiting >= most:
            work.close()
            raise Unavailable(
                f"{waiting} requests of the lowest priority wait for others, and at most {most} "
                "may; try again later"
            )
        self._inside += 1
        try:
            await self._begin(work)
            began = self._clock()
            try:
                return await work
            finally:
                self._running -= 1
                self._rest(began, self._clock())
                self._news.set()
        finally:
            self._inside -= 1

    async def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            async with self._turn:
                await self._allowed()
                self._running += 1
        except BaseException:
            work.close()
            raise

    async def _allowed(self) -> None:
        """Wait until the next offline request may begin: others have left, or one has run."""
        until = self._clock() + LONGEST_S
        self._gate.left = self._look
        try:
            while not self.may_begin(now := self._clock(), until):
                self._news.clear()
                due = min(at for at in (until, self._rest_until, self._quiet_at) if at > now)
                await in_task()  # for the timer
                await within(due - now, self._news)
        finally:
            self._gate.left = None

    def _look(self) -> None:
        if self._gate.inside <= self._inside:
            self._news.set()

    def may_begin(self, now: float, until: float) -> bool:
        """Return whether the next offline request begins now; ``until`` then it waits at most.

        Where it does not, ``now`` is before the time at which others count as away.
        """
        came = self._gate.passed - self._came
        others = self._gate.inside - self._inside
        if others or self._others or came != self._others_came:
            self._quiet_at = now + QUIET_S
        self._others, self._others_came = others, came
        if now >= self._quiet_at:
            return True
        return not self._running and (now >= until or (not others and now >= self._rest_until))

    def _rest(self, began: float, ended: float) -> None:
        self._rest_until = ended + (ended - began) * (1 / SHARE - 1)
