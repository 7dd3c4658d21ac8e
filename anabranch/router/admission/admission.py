"""Lets requests of a graph in, or refuses them at once with the reason.

This is asked before a body is read and before it is decoded, by all protocols, so that a refusal
costs little.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from math import ceil
from typing import Any, NamedTuple

from anabranch.access.limits import LimitsByCaller
from anabranch.errors import DeadlineExceeded, RequestError, Unavailable
from anabranch.graph.batch.batching import DEFAULT_LEVEL, PRIORITY, level
from anabranch.graph.batch.experience import LONGEST_RETRY
from anabranch.router.admission.backlog import TARGET, Backlog
from anabranch.router.admission.callers import Callers, CallerState
from anabranch.router.admission.ceiling import FEWEST, Ceiling
from anabranch.router.admission.turns import Turns
from anabranch.router.errors import ClientGone
from anabranch.router.limits import LARGE

_PRIORITY = PRIORITY.encode()
_HIGHEST = 1
_USUAL = "those of usual priority"
TURN_GAIN = 2
"""Limit for a request whose caller has its turn, in requests for each one of the usual limit."""
_KEPT = 4
"""One of so many places is kept from callers that have their share of all."""
_NO_PLACE = nullcontext()
PLACE: ContextVar[Place] = ContextVar("PLACE")
"""The place of the request that is evaluated, where bulkheads share a gate."""


class EdgeWord(NamedTuple):
    """What the edge says of the requests to a router, in one that it sends there."""

    in_flight: int
    """Requests that it has sent and that are not answered yet, rounded; 0 where they are few."""
    is_refusing: bool
    """Whether it has refused many in the last second, by the router's limit."""


class Overload(Unavailable):
    """The graph has more requests than it can answer, or than it can answer in time."""


_UNANSWERED = (Overload, DeadlineExceeded, ClientGone, CancelledError, GeneratorExit)
"""Errors of requests that wanted an answer and got none in time."""


class Admission:
    """Lets at most ``limit`` requests of a graph in, and fewer under overload.

    ``fewest``: so many are let in even then. ``clock`` gives monotonic seconds.
    """

    __slots__ = (
        "_backlog", "_callers", "_clock", "_graph", "_turns", "inside", "is_shared", "left",
        "limit", "passed",
    )  # fmt: skip

    def __init__(
        self,
        graph: str,
        limit: int,
        fewest: int = FEWEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self.limit = limit
        """The most requests that are let in."""
        self._clock = clock
        self._backlog = Backlog(limit, fewest)
        self._turns = Turns()
        self._callers = Callers(graph)
        self.is_shared = False
        """Whether segments have bulkheads, which need the places of their requests."""
        self.inside = 0
        """How many are inside."""
        self.passed = 0
        """How many were ever let in."""
        self.left: Callable[[], None] | None = None
        """Called after each request that leaves."""

    @property
    def free(self) -> int:
        """How many more there is room for."""
        return self.limit - self.inside

    def limit_callers(self, limits: LimitsByCaller | None, routers: int) -> None:
        """Put limits of callers in force, at one of so many routers of the graph."""
        self._callers.limit(limits, routers, self._clock())

    def _caller(self, name: str, now: float) -> CallerState | None:
        """Return the state of who asks; None where callers are not told apart.

        Raises TooManyRequests if that caller must not ask for more, and Unavailable if it would
        take the last places from others.
        """
        if not name and not self._callers.are_counted:
            return None
        found = self._callers.of(name, now)
        found.check(now)
        is_scarce = self.inside >= self.limit - self.limit // _KEPT
        if is_scarce and self._callers.is_greedy(found, now, self.limit):
            self._backlog.offered(now)
            raise Unavailable(
                f"caller {name!r} has {found.inside} of the {self.limit} requests in progress "
                "that this replica takes, and others have to have some; try again later"
            )
        return found

    def check(self, caller: str = "") -> None:
        """Raise if a request of a caller would not be let in now, whatever its body is."""
        now, backlog = self._clock(), self._backlog
        found = self._caller(caller, now) if caller or self._callers.are_counted else None
        if self.inside >= self.limit or backlog.ceiling is not None or self._turns.is_pressed:
            self._check(_HIGHEST, now, found)

    def caller_place(self, caller: str) -> AbstractContextManager[None]:
        """Return the place of a request among its caller's alone, or raise TooManyRequests."""
        now = self._clock()
        found = self._caller(caller, now)
        return _NO_PLACE if found is None else found.begin(now)

    def meter(self, caller: str) -> Callable[[], None] | None:
        """Return what counts a token for a caller; None where nobody counts."""
        if not self._callers.are_counted:
            return None
        clock = self._clock
        tokens = self._callers.of(caller, clock()).tokens
        return None if tokens is None else lambda: tokens.take(clock())

    def place(
        self,
        body: bytes | bytearray | memoryview = b"",
        caller: str = "",
        streams: bool = False,
    ) -> Place:
        """Return the place of a request, to hold until its reply is encoded.

        ``body`` is read as far as to see whether it has a priority. How long one that ``streams``
        takes says nothing about others, so it has a place and is left out of all measures. Raises
        TooManyRequests where the caller asks for too much, and Unavailable where all do.
        """
        clock, backlog = self._clock, self._backlog
        now = clock()
        found = self._caller(caller, now) if caller or self._callers.are_counted else None
        if self.inside >= self.limit or backlog.ceiling is not None or self._turns.is_pressed:
            self._check(_HIGHEST if _has_priority(body) else DEFAULT_LEVEL, now, found)
            if found is not None:
                found.take_turn(now)
        if self._turns.begins(now, backlog.inside):
            asyncio.get_running_loop().call_soon(self._polled)
        self.inside += 1
        self.passed += 1
        began, rank = 0.0, 0
        if not streams:
            backlog.offered(now)
            began, rank = now, backlog.began(now)
        place = (
            Place(self, began, rank)
            if found is None
            else CallersPlace(self, began, rank, found.begin(now))
        )
        if self.is_shared:
            PLACE.set(place)
        return place

    def hear(self, told: EdgeWord, is_new: bool) -> None:
        """Take what the edge says of the requests that it sends here.

        ``is_new``: it says so now; with the first request of a connection, that may have waited
        long to be accepted.
        """
        self._backlog.told(told.in_flight if is_new else 0)
        if not is_new:
            return
        if told.in_flight:
            self._turns.told(told.in_flight)
        if told.is_refusing:
            self._turns.edge_refuses(self._clock())

    @property
    def is_pressed(self) -> bool:
        """Whether the event loop is overloaded, and the edge should refuse requests."""
        return self._turns.is_pressed

    def most_in_flight(self, under_way: int) -> int:
        """Return how many requests the edge may have under way here, while the loop is overloaded.

        ``under_way``: requests of all kinds that the router has; those that the overload does not
        concern, such as streams, have places of their own.
        """
        backlog = self._backlog
        return self._turns.limit(backlog.unloaded) + max(0, under_way - backlog.inside)

    @property
    def has_queue(self) -> bool:
        """Whether a request that was let in may have to wait for others."""
        return self._backlog.inside > 1

    def confirm(self, parameters: Mapping[str, Any], seconds: float) -> None:
        """Raise Unavailable if a request that has a place should give it up now it is decoded.

        That is so if its priority is too low, or if it will not be answered in the ``seconds`` that
        it has. Raises InvalidRequest for a malformed priority.
        """
        backlog = self._backlog
        ceiling = backlog.ceiling if PRIORITY in parameters else None
        if ceiling is not None and backlog.inside > backlog.limit(level(parameters)):
            raise self._overload(ceiling, backlog.inside - 1, _USUAL, ceiling.most)
        expected = backlog.expected(self._clock())
        if expected > seconds:
            raise Overload(
                f"graph {self._graph!r} cannot answer within {seconds:.3g}s, the time this request "
                f"has: {backlog.inside - 1} requests are before it, and all will take "
                f"{expected:.3g}s; try again later, or allow more time",
                whole_seconds(expected),
            )

    def _check(self, priority: int, now: float, caller: CallerState | None) -> None:
        """Raise Unavailable where a request of that priority is to be refused.

        Under overload it is let in anyway if it is its caller's turn.
        """
        backlog, turns = self._backlog, self._turns
        if self.inside >= self.limit:
            backlog.offered(now)
            raise Unavailable(
                f"{self.inside} requests are in progress, the most that this replica takes; "
                "try again later"
            )
        ceiling = backlog.ceiling
        if ceiling is not None:
            usual = backlog.limit(priority)
            most = self._in_turn(usual, ceiling, now, caller)
            if backlog.inside >= most:
                backlog.offered(now)
                whose = "a caller that has had its turns" if most < usual else _USUAL
                raise self._overload(ceiling, backlog.inside, whose, min(most, ceiling.most))
        if not turns.is_pressed or self._has_turn(caller, now, turns.rate):
            return
        if turns.refuses(now, backlog.unloaded):
            raise Overload(
                f"the router of graph {self._graph!r} gets more requests than its processor can "
                f"take, which are {turns.rate:.3g} a second; try again later"
            )

    def _in_turn(self, usual: int, ceiling: Ceiling, now: float, caller: CallerState | None) -> int:
        """Return how many may be in progress where a caller's request is let in.

        That is the usual limit while there is one caller, and in a probe, which is to see few. Else
        more where the caller has its turn, and where not, one more than keep all servers busy.
        """
        if caller is None or ceiling.is_probing or not self._callers.are_several(now):
            return usual
        if self._has_turn(caller, now, ceiling.rate):
            return TURN_GAIN * (usual + 1)
        return min(usual, ceiling.busy + 1)

    def _has_turn(self, caller: CallerState | None, now: float, rate: float) -> bool:
        return caller is not None and self._callers.has_turn(caller, now, rate)

    def _overload(self, ceiling: Ceiling, inside: int, whose: str, most: int) -> Overload:
        return Overload(
            f"graph {self._graph!r} gets more requests than it can answer, which are "
            f"{ceiling.rate:.3g} a second: {inside} are in progress, and the limit for {whose} is "
            f"{most} now; try again later",
            whole_seconds(inside / ceiling.rate),
        )

    def _polled(self) -> None:
        """All requests that had come have begun, and what waits on the loop is worked on next."""
        self._turns.polled()
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turns.ends(self._clock())

    def leave(self, began: float, rank: int, error: type[BaseException] | None) -> None:
        """Take a place back; a ``rank`` of 0 was not measured."""
        self.inside -= 1
        clock = self._clock
        if rank and error is None:
            self._backlog.ended(clock(), began, rank)
        elif rank:
            count_end(self._backlog, clock(), began, rank, error)
        if self.left is not None:
            self.left()

    def exempt(self, began: float, rank: int) -> None:
        """Measure a request no longer, whose place stays: it is to wait for something else.

        What it has waited for so far counts, if it has waited.
        """
        now = self._clock()
        if now - began > TARGET:
            self._backlog.ended(now, began, rank)
        else:
            self._backlog.withdrawn(now)


def count_end(
    backlog: Backlog, now: float, began: float, rank: int, error: type[BaseException] | None
) -> None:
    """Note in a backlog how a request has ended."""
    if error is None:
        backlog.ended(now, began, rank)
    elif issubclass(error, _UNANSWERED):
        backlog.failed(now)
    elif issubclass(error, (Unavailable, RequestError)):
        backlog.withdrawn(now)
    else:
        backlog.ended(now, began, 0)


class Place:
    """The place of one request inside a gate, until the end of a ``with``."""

    __slots__ = ("_began", "_gate", "_rank")

    def __init__(self, gate: Admission, began: float, rank: int) -> None:
        self._gate = gate
        self._began = began
        self._rank = rank

    def __enter__(self) -> None:
        """Do nothing: the place is held already."""

    def exempt(self) -> None:
        """Have the request measured no longer."""
        if self._rank:
            self._gate.exempt(self._began, self._rank)
            self._rank = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        rank, self._rank = self._rank, 0
        self._gate.leave(self._began, rank, kind)


class CallersPlace(Place):
    """The place of a request that has one among its caller's, too."""

    __slots__ = ("_caller",)

    def __init__(
        self, gate: Admission, began: float, rank: int, caller: AbstractContextManager[None]
    ) -> None:
        super().__init__(gate, began, rank)
        self._caller = caller

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._caller.__exit__(None, None, None)
        super().__exit__(kind)


def _has_priority(body: bytes | bytearray | memoryview) -> bool:
    """Return whether a body may have a priority, which is known once it is decoded."""
    return _PRIORITY in (bytes(body[:LARGE]) if isinstance(body, memoryview) else body)


def whole_seconds(seconds: float) -> int:
    """Return after how many whole seconds a client should try again."""
    return max(1, min(ceil(seconds), LONGEST_RETRY))
