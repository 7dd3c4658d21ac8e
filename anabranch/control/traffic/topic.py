"""A value with versions, and long polls for a version other than the caller's.

A poll says which version its poller holds: that is the acknowledgement. Nothing runs between polls
and changes. Only asyncio, on one loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from anabranch.router.addresses import RouterAddress
from anabranch.waiting import within

PATIENCE_S = 30.0
"""Longest time that a poll waits for a change."""
CONFIRMATION_S = 5.0
"""Longest wait for those who poll to confirm a change; on a busy machine they may be late."""
FORGOTTEN_S = 40.0
"""A poller that has not polled for so long is gone."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Poller:
    """The version that a poller holds, when it last polled, and the address that it told along."""

    version: int
    at: float
    address: RouterAddress | None = None
    is_router: bool = True
    """False for one that only reads along."""


def first_version() -> int:
    """Return a version that no controller before this one has given."""
    return time.time_ns()


class Topic(Generic[ValueT]):
    """The newest value; version 0 stands for none. ``patience`` is in seconds."""

    def __init__(
        self,
        version: int,
        value: ValueT,
        patience: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.version = version
        self.value = value
        self._patience = patience
        self._clock = clock
        self._pollers: dict[str, Poller] = {}
        self._changed = asyncio.Event()
        """Set, and replaced, with every value."""
        self._polled = asyncio.Event()
        """Set, and replaced, with every poll."""

    def put(self, version: int, value: ValueT) -> None:
        """Replace the value, and answer all polls that wait."""
        self.version, self.value = version, value
        self._changed = _rung(self._changed)

    async def next(self, held: int) -> ValueT:
        """Wait for a version other than ``held``; the same value again once patience is over."""
        if self.version in (0, held):
            await within(self._patience, self._changed)
        return self.value

    def heard(
        self,
        name: str,
        held: int,
        address: RouterAddress | None = None,
        is_router: bool = True,
    ) -> None:
        """Take down what a poll says of its poller."""
        self.pollers()[name] = Poller(held, self._clock(), address, is_router)
        self._polled = _rung(self._polled)

    def leave(self, name: str) -> None:
        """Forget a poller that has ended: nobody waits for it from now on."""
        self._pollers.pop(name, None)
        self._polled = _rung(self._polled)

    @property
    def addresses(self) -> tuple[RouterAddress, ...]:
        """The addresses that pollers have told along."""
        return tuple(one.address for one in self._pollers.values() if one.address)

    @property
    def routers(self) -> int:
        """How many of the pollers are routers."""
        return sum(one.is_router for one in self.pollers().values())

    def pollers(self) -> dict[str, Poller]:
        """Return the pollers that have not been silent for too long, by name."""
        now = self._clock()
        self._pollers = {
            name: one for name, one in self._pollers.items() if now - one.at <= FORGOTTEN_S
        }
        return self._pollers

    async def until_held(self, version: int, timeout: float, routers: int = 0) -> None:
        """Wait until all pollers hold a version, at most ``timeout`` seconds.

        With ``routers``, wait for the first poll of so many: a new process knows none of them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._behind(version) or self.routers < routers:
                    await self._polled.wait()

    async def confirmed(self, version: int, timeout: float) -> tuple[int, int]:
        """Wait until all pollers hold a version, at most ``timeout`` seconds.

        Returns how many hold it, of how many there are. Those that do not are taken for gone until
        they poll again.
        """
        await self.until_held(version, timeout)
        behind, known = self._behind(version), len(self._pollers)
        for name in behind:
            del self._pollers[name]
        return known - len(behind), known

    def _behind(self, version: int) -> list[str]:
        return [name for name, one in self.pollers().items() if one.version < version]


def _rung(event: asyncio.Event) -> asyncio.Event:
    """Wake all who wait for an event, and return the one for what comes next."""
    event.set()
    return asyncio.Event()
