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
LONGEST_RETURN = 1.0
"""Seconds that a lost connection may take to be made again before the replica counts as lost."""


class ReplicaLink:
    """The connection to one replica. ``changed`` is called when a try to connect has ended."""

    def __init__(self, connect: Callable[[], Awaitable[Link]], changed: Callable[[], None]) -> None:
        self.models: frozenset[str] = frozenset()
        """The multiplexed models that the replica has loaded."""
        self.is_listed = False
        """Whether Serve lists the replica among those that run."""
        self._connect = connect
        self._changed = changed
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE
        self._again = 0.0
        self._failed = False
        """Whether the last try to connect was in vain."""
        self._began = 0.0
        """When the try that is under way began."""

    @property
    def live(self) -> Link | None:
        """The connection, where calls may be made."""
        link = self._link
        return None if link is None or link.closed or link.going_away else link

    @property
    def is_connecting(self) -> bool:
        """Whether a try to connect is under way."""
        return self._connecting is not None

    @property
    def is_broken(self) -> bool:
        """Whether a replica that is listed has ended its connection without a word."""
        link = self._link
        return self.is_listed and link is not None and link.closed and not link.going_away

    @property
    def is_lost(self) -> bool:
        """Whether a replica that is listed was looked for in vain, and did not say that it goes."""
        link = self._link
        if not self.is_listed or self.live is not None or (link is not None and link.going_away):
            return False
        is_slow = self.is_broken and time.monotonic() - self._began >= LONGEST_RETURN
        return self._failed or (is_slow and self.is_connecting)

    def connect(self) -> None:
        """Connect soon, unless it is connected, or has just tried."""
        if self.live is not None or self.is_connecting or time.monotonic() < self._again:
            return
        self._began = time.monotonic()
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
            self._pause, self._failed = FIRST_PAUSE, False
        except CallLost:
            self._failed = True
            self._again = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        finally:
            self._connecting = None
            self._changed()
