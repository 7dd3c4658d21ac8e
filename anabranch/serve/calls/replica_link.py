"""The connection to one replica, which is made again where it was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from anabranch.serve.streams.link import Link
from anabranch.serve.streams.lost import CallLost

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two tries to connect; each further one in a row twice as long."""


class ReplicaLink:
    """The connection to one replica. ``changed`` is called when a try to connect has ended."""

    def __init__(self, connect: Callable[[], Awaitable[Link]], changed: Callable[[], None]) -> None:
        self.models: frozenset[str] = frozenset()
        """The multiplexed models that the replica has loaded."""
        self._connect = connect
        self._changed = changed
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE
        self._again = 0.0

    @property
    def live(self) -> Link | None:
        """The connection, where calls may be made."""
        link = self._link
        return None if link is None or link.closed or link.going_away else link

    @property
    def is_connecting(self) -> bool:
        """Whether a try to connect is under way."""
        return self._connecting is not None

    def connect(self) -> None:
        """Connect soon, unless it is connected, or has just tried."""
        if self.live is not None or self.is_connecting or time.monotonic() < self._again:
            return
        # Without the context of the request that happens to be the first one.
        work = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self._connecting = work

    def leave(self) -> None:
        """Make no further calls, and let go once those under way have ended."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.leave()

    async def _run(self) -> None:
        try:
            self._link = await self._connect()
            self._pause = FIRST_PAUSE
        except CallLost:
            self._again = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        finally:
            self._connecting = None
            self._changed()
