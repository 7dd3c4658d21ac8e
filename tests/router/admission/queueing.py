"""Queues in simulated time, with a ``Backlog``, ``Turns`` or an ``Admission`` before them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anabranch.access.limits import LimitsByCaller
from anabranch.errors import TooManyRequests, Unavailable
from anabranch.router.admission.admission import Admission, Place
from anabranch.router.admission.backlog import Backlog
from anabranch.router.admission.turns import FEW, Turns

PLACES = 256


@dataclass(frozen=True)
class Offer:
    """One request: when it came, its priority, and how long it took; None if it was refused."""

    at: float
    level: int
    took: float | None


@dataclass
class Queue:
    """``servers``, each for one request of ``service`` seconds at a time, first come, first served.

    Requests come at random (Poisson), ``load(t)`` times as many as can be answered; where there
    ``is_edge``, by it, on connections of which there are always enough.
    """

    load: Callable[[float], float]
    servers: int = 1
    service: Callable[[float], float] = lambda t: 0.02
    seed: int = 0
    levels: tuple[int, ...] = (5,)
    is_edge: bool = False
    backlog: Backlog = field(default_factory=lambda: Backlog(PLACES))
    offers: list[Offer] = field(default_factory=list)

    def run(self, seconds: float) -> Queue:
        """Let requests come for so long, and end."""
        self._random = random.Random(self.seed)
        self._waiting: deque[tuple[float, int, int]] = deque()
        self._free = self.servers
        self._number = itertools.count()
        self._events: list[tuple[float, int, tuple[float, int, int] | None]] = []
        self._come(0.0)
        while self._events:
            now, _, entry = heapq.heappop(self._events)
            if entry is not None:
                self._end(now, entry)
            elif now < seconds:
                self._come(now)
                self._offer(now, self._random.choice(self.levels))
        return self

    def _come(self, now: float) -> None:
        """Have the next request come, looking again soon while there is no load."""
        rate = self.load(now) * self.servers / self.service(now)
        self._at(now + (self._random.expovariate(rate) if rate else 0.1), None)

    def _at(self, time: float, entry: tuple[float, int, int] | None) -> None:
        heapq.heappush(self._events, (time, next(self._number), entry))

    def _offer(self, now: float, level: int) -> None:
        if not self.load(now):
            return
        if self.is_edge and self.backlog.inside + 1 >= ROUND:
            self.backlog.told(rounded(self.backlog.inside + 1))
        self.backlog.offered(now)
        if self.backlog.inside >= min(PLACES, self.backlog.limit(level)):
            self.offers.append(Offer(now, level, None))
            return
        self._waiting.append((now, self.backlog.began(now), level))
        self._serve(now)

    def _end(self, now: float, entry: tuple[float, int, int]) -> None:
        began, rank, level = entry
        self.backlog.ended(now, began, rank)
        self.offers.append(Offer(began, level, now - began))
        self._free += 1
        self._serve(now)

    def _serve(self, now: float) -> None:
        if self._free and self._waiting:
            self._free -= 1
            self._at(now + self.service(now), self._waiting.popleft())

    def refused(self, start: float = 0.0) -> int:
        """How many were refused of those that came from ``start`` on."""
        return sum(offer.took is None for offer in self.offers if offer.at >= start)

    def times(self, start: float = 0.0) -> list[float]:
        """How long the others took, in order."""
        return sorted(o.took for o in self.offers if o.at >= start and o.took is not None)

    def rate(self, start: float, end: float) -> float:
        """How many were answered in a second between two times."""
        ends = [offer.at + offer.took for offer in self.offers if offer.took is not None]
        return sum(start <= each < end for each in ends) / (end - start)


def p99(times: list[float]) -> float:
    """Return the 99th percentile of times in order."""
    return times[int(0.99 * len(times))]


HANDLES = 16
"""Connections that a loop accepts in a turn."""
MOST = 4096
"""Requests that may be in progress at a loop."""
_Begun = tuple[float, float, int]
"""When a request came and began, and its rank among those in progress."""
ROUND = 16
"""The edge tells how many requests are in flight in multiples of so many."""


def rounded(in_flight: int) -> int:
    """Return how many the edge says are in flight; 0 where it says nothing."""
    return in_flight // ROUND * ROUND


@dataclass
class Edge:
    """What HAProxy does before a router: counts what is in flight, and refuses beyond a limit.

    ``most``: connections of its clients, each for one request at a time. ``delay``: seconds that a
    request takes from it to the router, at random.
    """

    most: int = 10**9
    delay: float = 0.0
    in_flight: int = 0
    limit: int = 0
    until: float = 0.0
    asked: deque[float] = field(default_factory=deque)
    refused: deque[float] = field(default_factory=deque)

    def takes(self, now: float) -> bool:
        """Whether a request is sent to the router."""
        self.asked.append(now)
        if now < self.until and self.in_flight >= self.limit:
            self.refused.append(now)
            return False
        self.in_flight += 1
        return True

    def is_refusing(self, now: float) -> bool:
        """Whether many of the requests of the last second were refused."""
        for times in (self.asked, self.refused):
            while times and times[0] < now - 1:
                times.popleft()
        return now < self.until and FEW * len(self.refused) > len(self.asked)


@dataclass
class Loop:
    """An event loop that takes ``cost`` seconds to answer a request, and ``refusal`` to refuse one.

    Requests come at random, ``load(t)`` times as many as it can answer, or from so many ``clients``
    that each wait for their answer before they ask again. It answers those of a turn as it takes
    them, or after it has taken those of ``behind`` turns, as those of asynchronous nodes. With an
    ``edge``, requests come through it.
    """

    cost: float
    refusal: float = 3e-5
    load: Callable[[float], float] = lambda t: 0.0
    clients: int = 0
    seed: int = 0
    behind: int = 0
    edge: Edge | None = None
    turns: Turns = field(default_factory=Turns)
    backlog: Backlog = field(default_factory=lambda: Backlog(MOST))
    offers: list[Offer] = field(default_factory=list)

    def run(self, seconds: float) -> Loop:
        """Let the loop turn for so long."""
        self._draw = random.Random(self.seed)
        self._waiting: deque[tuple[float, int, bool]] = deque()
        self._to_accept: deque[tuple[float, int]] = deque()
        self._begun: deque[list[_Begun]] = deque()
        self._on_the_way: list[tuple[float, float, int, bool]] = []
        self._next, self._idle = 0.0, 0
        now = 0.0
        for _ in range(self.clients):
            self._ask(0.0)
        while now < seconds:
            self._come(now)
            now = self._next_event(now) if self._is_idle else self._turn(now)
        return self

    def _next_event(self, now: float) -> float:
        comes = self._next if self.load(now) else now + 1e-4
        return min(comes, self._on_the_way[0][0]) if self._on_the_way else comes

    @property
    def _is_idle(self) -> bool:
        return not (self._waiting or self._to_accept or any(self._begun))

    def _turn(self, now: float) -> float:
        """Take what has come, and some of the new connections; return when that is done."""
        let_in: list[_Begun] = []
        self._begun.append(let_in)
        taken, self._waiting = self._waiting, deque()
        accepted = [self._to_accept.popleft() for _ in range(min(HANDLES, len(self._to_accept)))]
        for at, in_flight, is_refusing in taken:
            self._hear(now, in_flight, is_refusing)
            now = self._take(now, at, let_in)
        for at, in_flight in accepted:
            if in_flight:
                self.backlog.told(0)
            now = self._take(now, at, let_in)
        self.turns.polled()
        if len(self._begun) >= self.behind:
            for begun in self._begun.popleft():
                now = self._work(now, begun)
        if self._is_idle:
            self.turns.ends(now)
        return now

    def _hear(self, now: float, in_flight: int, is_refusing: bool) -> None:
        if in_flight:
            self.turns.told(in_flight)
            self.backlog.told(in_flight)
        if is_refusing:
            self.turns.edge_refuses(now)

    def _take(self, now: float, at: float, let_in: list[_Begun]) -> float:
        """Let one in, or refuse it, as ``Admission`` does; return when that is done."""
        turns, backlog = self.turns, self.backlog
        is_full = backlog.ceiling is not None and backlog.inside >= backlog.limit(5)
        if is_full or (turns.is_pressed and turns.refuses(now, backlog.unloaded)):
            if is_full:
                backlog.offered(now)
            self._answer(at, now + self.refusal, None)
            return now + self.refusal
        turns.begins(now, backlog.inside)
        backlog.offered(now)
        begun = at, now, backlog.began(now)
        if not self.behind:
            return self._work(now, begun)
        let_in.append(begun)
        return now

    def _work(self, now: float, begun: _Begun) -> float:
        at, began, rank = begun
        now += self.cost
        self.backlog.ended(now, began, rank)
        self._answer(at, now, now - at)
        return now

    def _answer(self, at: float, now: float, took: float | None) -> None:
        self._come(now)
        self.offers.append(Offer(at, 5, took))
        self._idle += 1
        if self.edge is not None:
            self.edge.in_flight -= 1
            if self.turns.is_pressed:
                self.edge.limit = self.turns.limit(self.backlog.unloaded)
                self.edge.until = now + 1
        if self.clients:
            self._ask(now)

    def _come(self, now: float) -> None:
        """Have all come that come by now at random."""
        while self.load(self._next) and self._next <= now:
            self._ask(self._next)
            self._next += self._draw.expovariate(self.load(self._next) / self.cost)
        while self._on_the_way and self._on_the_way[0][0] <= now:
            self._waiting.append(heapq.heappop(self._on_the_way)[1:])

    def _ask(self, now: float) -> None:
        edge = self.edge
        if edge is not None and edge.in_flight >= edge.most:
            return
        if edge is not None and not edge.takes(now):
            self.offers.append(Offer(now, 5, None))
            return
        told = 0 if edge is None else rounded(edge.in_flight)
        if not self._idle:
            self._to_accept.append((now, told))
        else:
            self._idle -= 1
            self._send(now, told, edge is not None and edge.is_refusing(now))

    def _send(self, now: float, told: int, is_refusing: bool) -> None:
        edge = self.edge
        if edge is None or not edge.delay:
            self._waiting.append((now, told, is_refusing))
            return
        arrives = now + self._draw.expovariate(1 / edge.delay)
        heapq.heappush(self._on_the_way, (arrives, now, told, is_refusing))

    def refused(self, start: float = 0.0) -> int:
        """How many were refused of those that came from ``start`` on."""
        return sum(offer.took is None for offer in self.offers if offer.at >= start)

    def times(self, start: float) -> list[float]:
        """How long those took that were let in from ``start`` on, in order."""
        return sorted(o.took for o in self.offers if o.at >= start and o.took is not None)


@dataclass
class Shared:
    """``servers`` behind a gate, each for one request of ``service`` seconds at a time.

    Each caller's requests come at random, ``loads`` times as many as can be answered.
    """

    loads: Mapping[str, Callable[[float], float]]
    servers: int = 1
    service: float = 0.02
    seed: int = 0
    places: int = PLACES
    limits: LimitsByCaller | None = None
    offers: dict[str, list[Offer]] = field(default_factory=dict)

    def run(self, seconds: float) -> Shared:
        """Let requests come for so long, and end."""
        asyncio.run(self._run(seconds))
        return self

    async def _run(self, seconds: float) -> None:
        self._now = 0.0
        self._gate = Admission("demo", self.places, clock=lambda: self._now)
        self._gate.limit_callers(self.limits, 1)
        self._free, self._waiting = self.servers, deque[tuple[str, float, Place]]()
        draw, number = random.Random(self.seed), itertools.count()
        events: list[tuple[float, int, str, tuple[str, float, Place] | None]] = []
        for caller in self.loads:
            self.offers[caller] = []
            heapq.heappush(events, (0.0, next(number), caller, None))
        while events:
            self._now, _, caller, served = heapq.heappop(events)
            if served is not None:
                self._end(*served)
            elif self._now < seconds:
                self._offer(caller)
                rate = self.loads[caller](self._now) * self.servers / self.service
                again = self._now + (draw.expovariate(rate) if rate else 0.1)
                heapq.heappush(events, (again, next(number), caller, None))
            while self._free and self._waiting:
                self._free -= 1
                done = self._now + self.service
                heapq.heappush(events, (done, next(number), caller, self._waiting.popleft()))

    def _offer(self, caller: str) -> None:
        if not self.loads[caller](self._now):
            return
        try:
            place = self._gate.place(caller=caller)
        except (Unavailable, TooManyRequests):
            self.offers[caller].append(Offer(self._now, 5, None))
        else:
            self._waiting.append((caller, self._now, place))

    def _end(self, caller: str, began: float, place: Place) -> None:
        place.__exit__(None, None, None)
        self.offers[caller].append(Offer(began, 5, self._now - began))
        self._free += 1

    def refused(self, caller: str, start: float = 0.0) -> float:
        """Which part was refused of a caller's requests that came from ``start`` on."""
        found = [offer.took is None for offer in self.offers[caller] if offer.at >= start]
        return sum(found) / len(found)

    def times(self, caller: str, start: float = 0.0) -> list[float]:
        """How long the others of a caller took, in order."""
        return sorted(
            one.took for one in self.offers[caller] if one.at >= start and one.took is not None
        )
