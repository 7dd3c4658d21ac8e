"""The state that the connections of one lean server share."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Protocol

from uvicorn.server import ServerState

from anabranch.router.http.lean_head import KnownHeads

MAX_GUESTS = 4096
"""Connections that clients may have without a proxy between."""


class Guest(Protocol):
    """A connection that comes from a client itself, without a proxy between."""

    idle_since: float
    """Time of the loop since which no request is at work, if none is."""

    @property
    def under_way(self) -> int:
        """How many requests are at work or wait for their turn."""

    def turn_away(self) -> None:
        """End the connection, which has no request at work; say why if it is new."""


class LeanState(ServerState):
    """Uvicorn's state of a server, with a date that needs no timer."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        """Whether connections end with the request that is at work."""
        self.guests: set[Guest] = set()
        self.heads = KnownHeads()
        """Heads of requests that connections have read of late."""
        self._second = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of every reply: its date (RFC 9110, 6.6.1)."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.default_headers = [(b"date", formatdate(second, usegmt=True).encode())]
        return self.default_headers

    def admit(self, guest: Guest) -> None:
        """Note a new guest; where there are too many, the one that is idle for longest goes.

        That is the new one if all others are at work.
        """
        self.guests.add(guest)
        if len(self.guests) <= MAX_GUESTS:
            return
        idle = [one for one in self.guests if not one.under_way and one is not guest]
        leaving = min(idle, key=lambda one: one.idle_since, default=guest)
        self.guests.discard(leaving)
        leaving.turn_away()
