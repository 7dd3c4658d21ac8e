"""The requests in progress at a graph, and whether more come than end; pure.

A queue that clears is no overload, however long it is; one that only grows is. As in CoDel (Nichols
and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012) a queue stands while no request
finds it short, for an interval. And it must have grown by more than chance explains, and go on to
grow (a CUSUM test, Page, Biometrika 41, 1954): requests that come at random, below the capacity,
make queues that stand for long, too, and so does a burst. Behind an edge, which tells how many it
has in flight, that number must have grown, too: where many clients each wait for their answer, it
does not, though a router that accepts their connections one after the other has more and more.
"""

from __future__ import annotations

from anabranch.graph.batch.batching import DEFAULT_LEVEL, LOWEST_LEVEL
from anabranch.router.admission.ceiling import ENOUGH, FEWEST, SAMPLES, Ceiling

INTERVAL, INTERVAL_ROUNDS = 0.25, 4
"""Time for which a queue stands at least before it has grown, in seconds, and in times that a
request takes without a queue."""
TARGET = 0.005
"""Seconds of waiting that are no queue; CoDel's target."""
SIGMAS = 3.0
"""Standard deviations by which a queue has grown that is more than chance."""
WINDOW, WINDOW_ROUNDS = 1.0, 20
"""Time between two looks at an overload, likewise."""
EASE = 1.1
"""Requests that come, for each one that ends, up to which there is no overload any more."""


class Backlog:
    """The requests in progress at one graph.

    Every request is ``offered``, then ``began`` or is refused, and has ``ended`` or ``failed`` at
    last, or is ``withdrawn``. Times are in seconds on one monotonic clock. ``limit`` and
    ``fewest``: the most requests that may be in progress without overload, and that are let in
    under any.
    """

    __slots__ = (
        "_ended", "_fast", "_fewest", "_interval", "_limit", "_offered", "_rate", "_reached",
        "_since", "_told", "ceiling", "inside", "unloaded",
    )  # fmt: skip

    def __init__(self, limit: int, fewest: int = FEWEST) -> None:
        self._limit = limit
        self._fewest = fewest
        self.inside = 0
        """How many are in progress."""
        self.ceiling: Ceiling | None = None
        """The limit under overload; None where there is none."""
        self.unloaded = 0.0
        """Time that a request takes without a queue, in seconds; 0 before one has ended."""
        self._fast = 0
        """Requests in a row that took less than half of that."""
        self._offered = self._ended = 0
        """Since the queue was short, or under overload in a window."""
        self._told: int | None = None
        """The most that the edge has told since then; None if it has told nothing."""
        self._reached = 0
        """The most that it had told when the queue had grown; 0 where it had not."""
        self._since = 0.0
        self._interval = INTERVAL
        """Seconds after which it is looked whether the queue has grown, or overload has passed."""
        self._rate = 0.0
        """How many ended in a second when the queue had grown; 0 where it had not."""

    def offered(self, now: float) -> None:
        """Note a request that asks for a place."""
        if not self._offered:
            self._since = now
        self._offered += 1
        if now - self._since < self._interval:
            return
        if self.ceiling is not None:
            self._look(now, self.ceiling)
        elif self._has_grown:
            self._grow(now)

    def told(self, in_flight: int) -> None:
        """Note how many requests the edge has in flight here; 0 where it told that long ago."""
        self._told = max(self._told or 0, in_flight)

    def began(self, now: float) -> int:
        """Note that a request has its place; return its rank among those in progress, from 1."""
        self.inside += 1
        if self.ceiling is not None:
            self.ceiling.began(now, self.inside)
        return self.inside

    def ended(self, now: float, began: float, rank: int) -> None:
        """Note the answer to a request that has ``began`` with that ``rank``; 0 for an error."""
        if self.ceiling is None:
            self._note(now - began, rank)
            return
        self._ended += 1
        self.ceiling.served(self.inside)
        self._leave(now)
        if rank:
            self.ceiling.sample(now, began, rank)

    def _note(self, seconds: float, rank: int) -> None:
        """Note an answer without overload; if it was quick, nothing of before counts."""
        inside, unloaded = self.inside, self.unloaded
        self.inside = inside - 1
        is_quick = seconds < TARGET and 0 < unloaded < TARGET
        if rank and not is_quick:
            self._learn(seconds, is_alone=rank == inside == 1)
            is_quick = seconds < self.unloaded + max(self.unloaded, TARGET)
        self._ended += 1
        has_shrunk = inside == 1 or self._ended >= self._offered + ENOUGH
        if has_shrunk or (is_quick and inside < self._limit):
            self._begin()

    def failed(self, now: float) -> None:
        """Note a request that had a place, and whose answer came too late or not at all."""
        self._leave(now)

    def withdrawn(self, now: float) -> None:
        """Note a request that somebody else has refused: as if it had not come."""
        self._leave(now)
        self._offered = max(0, self._offered - 1)

    def limit(self, level: int) -> int:
        """Return how many may be in progress where a request of that priority is let in.

        Under overload the highest priority has twice the usual limit, the lowest half of it.
        """
        if self.ceiling is None:
            return self._limit
        above = DEFAULT_LEVEL - level
        steps = DEFAULT_LEVEL - 1 if above > 0 else 2 * (LOWEST_LEVEL - DEFAULT_LEVEL)
        return max(1, round(self.ceiling.most * (1 + above / steps)))

    def expected(self, now: float) -> float:
        """Return how long the last of the requests in progress will take, in seconds.

        That is known only of a queue that stands and has grown; 0 where there is none.
        """
        if self.ceiling is not None:
            return self.inside / self.ceiling.rate
        if self._ended >= ENOUGH and self._offered >= self._ended + ENOUGH:
            return self.inside * (now - self._since) / self._ended
        return self.inside / self._rate if self._rate else 0.0

    def _leave(self, now: float) -> None:
        if self.ceiling is not None:
            self.ceiling.left(now, self.inside)
        self.inside -= 1
        if not self.inside and self.ceiling is None:
            self._begin()

    def _begin(self) -> None:
        """Count anew: the queue is short."""
        self._offered = self._ended = 0
        self._told = None
        self._reached = 0
        self._rate = 0.0

    def _learn(self, seconds: float, is_alone: bool) -> None:
        """Learn the time without a queue from a request that was alone, or from fast ones."""
        if not self.unloaded:
            self.unloaded = seconds
        self._fast = self._fast + 1 if seconds < self.unloaded / 2 else 0
        if self._fast >= SAMPLES:
            self.unloaded += 0.5 * (seconds - self.unloaded)
        elif is_alone:
            self.unloaded += 0.1 * (seconds - self.unloaded)
        self._set_interval()

    def _set_interval(self) -> None:
        self._interval = max(INTERVAL, INTERVAL_ROUNDS * self.unloaded)

    @property
    def _has_grown(self) -> bool:
        """Whether the queue has grown by more than chance explains."""
        grown = self._offered - self._ended
        if self._told is not None and self.inside < self._limit:
            grown = min(grown, self._told - self._reached)
        chance = SIGMAS**2 * (self._offered + self._ended)
        return self._ended >= ENOUGH and grown > 0 and grown**2 > chance

    def _grow(self, now: float) -> None:
        """Note that the queue has grown: overload where it did so before, so it was no burst."""
        grew = self._rate > 0.0
        self._rate = self._ended / (now - self._since)
        if grew:
            self.ceiling = Ceiling(now, self._rate, self.unloaded, self._fewest)
            self._begin_window(now, self.unloaded)
        else:
            self._offered = self._ended = 0
            self._reached = self._told or 0
            self._told = None

    def _begin_window(self, now: float, unloaded: float) -> None:
        self._offered, self._ended, self._since = 1, 0, now
        self._interval = max(WINDOW, WINDOW_ROUNDS * unloaded)

    def _look(self, now: float, ceiling: Ceiling) -> None:
        """At the end of a window under overload: see whether it has passed."""
        ceiling.end_window(now, self.inside)
        self.unloaded = ceiling.unloaded
        if self._offered <= EASE * ceiling.rate * (now - self._since):
            self.ceiling = None
            self._begin()
            self._set_interval()
            return
        self._begin_window(now, ceiling.unloaded)
        ceiling.begin_window(now)
        ceiling.renew(now)
