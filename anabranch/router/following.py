"""Long polls of the controller, which may be away: asks for a version other than the one held.

Asking again is also how a follower says that it has taken a version. Whatever fails is tried again,
for ever; meanwhile the version that was taken last stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from anabranch.telemetry.outlet import line_of
from anabranch.waiting import within

logger = logging.getLogger("anabranch.router")

RETRY_S = 0.2
"""Time before another try of what went wrong."""
FIRST_S = 2.0
"""Longest time that a request waits for a first version, in seconds."""


class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


VersionedT = TypeVar("VersionedT", bound=_Versioned)
"""Has a version that changes with it, and is never 0."""


class Follower(Generic[VersionedT]):
    """Takes one version after the other of a value that is called ``name`` in the log.

    ``poll`` waits for a version other than the one that it is given, where 0 stands for none yet.
    It may also answer with the same one after a while, or with None if there is none. ``take``
    puts a version in force; one that it refuses is not acknowledged.
    """

    def __init__(
        self,
        name: str,
        poll: Callable[[int], Awaitable[VersionedT | None]],
        take: Callable[[VersionedT], Awaitable[None]],
    ) -> None:
        self.version = 0
        """The version that was taken last."""
        self._name = name
        self._poll = poll
        self._take = take
        self._following: asyncio.Task[None] | None = None
        self._has_first = asyncio.Event()

    async def begin(self) -> None:
        """Return once a version was taken, however long that takes, and go on in the background."""
        while not self.version:
            await self.step()
        self.start()

    async def first(self) -> bool:
        """Wait for a first version, at most ``FIRST_S`` seconds; return whether one was taken.

        So those who ask a process that has just started get no wrong answer.
        """
        if not self.version:
            await within(FIRST_S, self._has_first)
        return bool(self.version)

    def start(self) -> None:
        """Follow in the background from now on."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def step(self) -> None:
        """Take the next version, or pause where that fails."""
        if not await self._stepped():
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        while True:
            await self.step()

    async def _stepped(self) -> bool:
        try:
            found = await self._poll(self.version)
        except Exception as error:
            logger.info("no %s from the controller: %s", self._name, line_of(error))
            return False
        if found is None:
            return False
        try:
            if found.version != self.version:
                await self._take(found)
        except Exception:
            logger.exception("%s of version %d not taken", self._name, found.version)
            return False
        self.version = found.version
        self._has_first.set()
        return True
