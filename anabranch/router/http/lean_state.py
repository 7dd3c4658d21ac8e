"""The state that the connections of one lean server share."""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from email.utils import formatdate
from typing import Protocol

from uvicorn.server import ServerState

from anabranch.router.admission.admission import EdgeWord
from anabranch.router.http.lean_head import KnownHeads
from anabranch.router.http.lean_reply import HeldReplies

MAX_GUESTS = 4096
"""Connections that clients may have without a proxy between."""


LIMIT = b"anabranch-limit"
"""Header of a reply: how many requests the edge may have under way at this router, for a second."""
_COUNT_S = 0.1
"""Time between two counts of the requests under way, under overload, in seconds."""


class Connection(Protocol):
    """A connection of a client, or of a proxy for many."""

    @property
    def under_way(self) -> int:
        """How many requests are at work or wait for their turn."""

    def read_on(self) -> None:
        """Read a piece of a large body."""


class Guest(Connection, Protocol):
    """A connection that comes from a client itself, without a proxy between."""

    idle_since: float
    """Time of the loop since which no request is at work, if none is."""

    def turn_away(self) -> None:
        """End the connection, which has no request at work; say why if it is new."""


class EdgeGate(Protocol):
    """Says what the edge may send, and takes what the edge says."""

    @property
    def is_pressed(self) -> bool:
        """Whether the edge should refuse requests."""

    def most_in_flight(self, under_way: int) -> int:
        """Return how many requests the edge may have under way, of which there are so many."""

    def hear(self, told: EdgeWord, is_new: bool) -> None:
        """Take what the edge says; ``is_new`` where it says so now."""


class ReadingTurns:
    """Connections with large bodies read on by turns, one in each turn of the event loop.

    So nobody waits for more than a piece of one, however many come at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, None] = {}
        self._context = copy_context()

    def wait(self, connection: Connection) -> None:
        """Have a connection read on when those have that wait already."""
        if not self._waiting:
            self._go_on()
        self._waiting[connection] = None

    def _go_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._next, context=self._context)

    def _next(self) -> None:
        connection = next(iter(self._waiting))
        del self._waiting[connection]
        if self._waiting:  # asked first, so that an error ends the turn of one connection only
            self._go_on()
        connection.read_on()


class LeanState(ServerState):
    """Uvicorn's state of a server, with a date that needs no timer."""

    def __init__(self, gate: EdgeGate | None = None) -> None:
        super().__init__()
        self._gate = gate
        self.connections: set[Connection]  # type: ignore[assignment]  # of this module's kind
        self._under_way, self._count_due = 0, 0.0
        self.closing = False
        """Whether connections end with the request that is at work."""
        self.turns = ReadingTurns()
        self.replies = HeldReplies()
        self.guests: set[Guest] = set()
        self.heads, self.heads_of_others = KnownHeads(), KnownHeads()
        """Heads of requests that connections have read of late: those that are believed what they
        say of their clients, and others."""
        self._second = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of every reply: its date (RFC 9110, 6.6.1), and limits of the edge."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.default_headers = [(b"date", formatdate(second, usegmt=True).encode())]
        gate = self._gate
        if gate is None or not gate.is_pressed:
            return self.default_headers
        return [*self.default_headers, (LIMIT, b"%d" % self._most(gate))]

    def _most(self, gate: EdgeGate) -> int:
        """Return how many requests the edge may have under way here."""
        now = time.monotonic()
        if now >= self._count_due:
            self._count_due = now + _COUNT_S
            self._under_way = sum(one.under_way for one in self.connections)
        return gate.most_in_flight(self._under_way)

    def hear(self, word: EdgeWord, is_new: bool) -> None:
        """Hand on what the edge says with a request; ``is_new`` but for a connection's first."""
        if self._gate is not None:
            self._gate.hear(word, is_new)

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
