"""Whether a deployment is down: it should have a replica that can be called, and has none.

A deployment that sleeps, or starts for the first time, has none either, but calls may wait for it:
Serve took its replicas off the list before they went, or never listed any. A deployment is down
whose replicas were lost while they were listed, or of which Serve says that it is unhealthy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass

from anabranch.errors import Unavailable
from anabranch.serve.calls.replica_link import ReplicaLink

LOOK_S = 1.0
"""Seconds between two looks, while calls wait or the deployment is down."""


@dataclass(eq=False, repr=False)
class OutageDetector:
    """Detects the outage of one deployment, as one process sees it."""

    _name: str
    """By which errors call the deployment."""
    _links: Mapping[str, ReplicaLink]
    """The replicas that Serve lists."""
    _is_unhealthy: Callable[[], Awaitable[bool | None]]
    """Asks Serve, and gives None where that does not know."""
    _changed: Callable[[], None]
    """Called when the deployment is found to be down, or is so no longer."""

    def __post_init__(self) -> None:
        self._down = False
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_down(self) -> bool:
        """Whether the deployment is down; where no replica is known, Serve is asked for next time.

        It is only asked for while no replica can be called.
        """
        links = self._links.values()
        if links and all(one.is_lost for one in links):
            self._down = True
        if self._down or not links:
            self._look()
        return self._down

    def check(self) -> None:
        """Raise Unavailable where the deployment is down."""
        if self.is_down:
            raise Unavailable(
                f"segment {self._name!r} cannot answer now: it has no healthy replica; "
                "try again later"
            )

    def dropped(self, gone: ReplicaLink) -> None:
        """Note that Serve lists a replica no longer, which may have been the last one."""
        if not self._links and (gone.is_lost or gone.is_broken):
            self._down = True

    def connected(self) -> None:
        """Note that a replica can be called."""
        self._down = False

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Look for an outage while a call waits within."""
        self._waiting += 1
        self._look()
        try:
            yield
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        if self._looking is None:
            # Without the context of the request that happens to be the first one.
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        """Ask Serve, and try to connect again, as long as somebody wants to know."""
        try:
            while True:
                self._hear(await self._is_unhealthy())
                for one in self._links.values():
                    one.connect()
                if not self._waiting and not self._down:
                    return
                await asyncio.sleep(LOOK_S)
        finally:
            self._looking = None

    def _hear(self, is_unhealthy: bool | None) -> None:
        """Take what Serve says, unless it lists a replica: then it is for the connection to say."""
        if self._links or is_unhealthy is None or is_unhealthy is self._down:
            return
        self._down = is_unhealthy
        self._changed()
