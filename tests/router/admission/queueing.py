"""Queues in simulated time, with a ``Backlog`` or ``Turns`` that lets requests in."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from anabranch.router.admission.backlog import Backlog
from anabranch.router.admission.turns import Turns

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

    Requests come at random (Poisson), ``load(t)`` times as many as can be answered.
    """

    load: Callable[[float], float]
    servers: int = 1
    service: Callable[[float], float] = lambda t: 0.02
    seed: int = 0
    levels: tuple[int, ...] = (5,)
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


@dataclass
class Loop:
    """An event loop that takes ``cost`` seconds to answer a request, and ``refusal`` to refuse one.

    Requests come at random, ``load`` times as many as it can answer, or from so many ``clients``
    that each wait for their answer before they ask again. ``in_tasks``: it answers those of a turn
    only after it has taken all of them.
    """

    cost: float
    refusal: float = 3e-5
    load: float = 0.0
    clients: int = 0
    seed: int = 0
    in_tasks: bool = False
    offers: list[Offer] = field(default_factory=list)

    def run(self, seconds: float) -> Loop:
        """Let the loop turn for so long."""
        draw, turns = random.Random(self.seed), Turns()
        waiting = deque([0.0] * self.clients)
        now = 0.0
        later = draw.expovariate(self.load / self.cost) if self.load else seconds
        while now < seconds:
            if not waiting:
                now = max(now, later)
            while later <= now < seconds and self.load:
                waiting.append(later)
                later += draw.expovariate(self.load / self.cost)
            turn, waiting = waiting, deque()
            later_work = 0.0
            for at in turn:
                is_refused = turns.is_pressed and turns.refuses(now)
                if not is_refused:
                    turns.begins(now)
                if is_refused or not self.in_tasks:
                    now += self.refusal if is_refused else self.cost
                else:
                    later_work += self.cost
                took = now + later_work - at
                self.offers.append(Offer(at, 5, None if is_refused else took))
                if self.clients:
                    waiting.append(now)
            turns.polled()
            now += later_work
            if not waiting and later > now:
                turns.ends(now)
        return self

    def refused(self) -> int:
        """How many were refused."""
        return sum(offer.took is None for offer in self.offers)

    def times(self, start: float) -> list[float]:
        """How long those took that were let in from ``start`` on, in order."""
        return sorted(o.took for o in self.offers if o.at >= start and o.took is not None)
