"""What a router counts of its arms and mirrors: sums that only grow, so windows are differences.

A router sends its sums to the controller twice a second, whole; what is lost on the way is in the
next report, and the controller needs no memory of its own but the sums it has last seen.

Sums of any kind may be added in any order. A difference to sums that were larger, those of a router
that has since started anew, is empty and never negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar

Bin: TypeAlias = int | str
Route: TypeAlias = tuple[str, str]
"""A router, and what it picked."""
_Key = TypeVar("_Key")
_Tally = TypeVar("_Tally", "Tally", "MirrorTally")

OTHER = "other"
"""The kind of all errors beyond the first MAX_KINDS kinds."""
MAX_KINDS = 32
MAX_FORMER = 32
"""Revisions out of the table whose sums a router keeps."""

ACCURACY = 0.02
"""How far a quantile may be from the true one, as a share of it."""
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_GAMMA)
SHORTEST, LONGEST = 1e-6, 1e5
"""Durations beyond count as these, in seconds; in between lie 634 bins."""


@dataclass(slots=True)
class Histogram:
    """Durations in logarithmic bins: quantiles are within 2 % of the true ones.

    Bin ``i`` holds durations of more than ``g ** (i - 1)`` and at most ``g ** i`` seconds, with
    ``g = 1.02 / 0.98``, as in DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable
    Quantile Sketch with Relative-Error Guarantees", VLDB 2019).
    """

    counts: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def add(self, seconds: float) -> None:
        """Count one duration."""
        index = math.ceil(math.log(_within(seconds)) * _PER_LOG)
        self.counts[index] = self.counts.get(index, 0) + 1

    def quantile(self, share: float) -> float | None:
        """The duration, in seconds, below which ``share`` (0 to 1) of them lie; None without any.

        It is within 2 % of the one at position ``share * (n - 1)``, rounded down, in their order.
        """
        position = share * (self.total - 1)
        below = 0
        index = None
        for index in sorted(self.counts):
            below += self.counts[index]
            if below > position:
                break
        return None if index is None else middle(index)

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(_sum(self.counts, other.counts))

    def minus(self, earlier: Self) -> Self:
        """What was added since ``earlier``."""
        return type(self)(_difference(self.counts, earlier.counts))


def middle(index: int) -> float:
    """The duration that stands for a bin's, in seconds: none of them is further than 2 % off."""
    return 2 * math.exp(index / _PER_LOG) / (_GAMMA + 1)


class _OfCounts(Protocol):
    """Puts two tables of counts together."""

    def __call__(
        self, one: Mapping[_Key, int], other: Mapping[_Key, int], /
    ) -> dict[_Key, int]: ...


_OfNumbers: TypeAlias = Callable[[int, int], int]
_OfTimes: TypeAlias = Callable[[Histogram, Histogram], Histogram]
_OfRewards: TypeAlias = Callable[["Rewards", "Rewards"], "Rewards"]


def _within(seconds: float) -> float:
    # Comparisons, not min() and max(): this runs for every request.
    if SHORTEST <= seconds <= LONGEST:
        return seconds
    return LONGEST if seconds > LONGEST else SHORTEST


class Judged(NamedTuple):
    """Rows of an answer that were held against the truth, and how many of them were right."""

    right: int
    rows: int


@dataclass(slots=True)
class Rewards:
    """Rewards, and what the truth said of the answers."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    """Sum of the squares."""
    right: int = 0
    """Rows of answers that were as the truth, of those in ``judged``."""
    judged: int = 0

    @property
    def mean(self) -> float | None:
        """The mean reward; None without any."""
        return self.total / self.count if self.count else None

    @property
    def error(self) -> float | None:
        """The mean's standard error; None for less than two rewards."""
        if self.count < 2:
            return None
        spread = max(self.squares - self.total**2 / self.count, 0.0) / (self.count - 1)
        return math.sqrt(spread / self.count)

    @property
    def accuracy(self) -> float | None:
        """The share of rows that were right; None without any."""
        return self.right / self.judged if self.judged else None

    def add(self, reward: float, judged: Judged | None) -> None:
        """Count one reward."""
        self.count += 1
        self.total += reward
        self.squares += reward * reward
        if judged is not None:
            self.right += judged.right
            self.judged += judged.rows

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            self.right + other.right,
            self.judged + other.judged,
        )

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``; rewards may be below zero, so it is the count that tells."""
        if earlier.count >= self.count:
            return type(self)()
        return type(self)(
            self.count - earlier.count,
            self.total - earlier.total,
            max(self.squares - earlier.squares, 0.0),
            _left(self.right, earlier.right),
            _left(self.judged, earlier.judged),
        )


@dataclass(slots=True)
class Tally:
    """Requests that one arm has evaluated to their end, but for those that the caller got wrong.

    What a caller did not wait for is unknown, neither a success nor a failure, and left out.
    """

    requests: int = 0
    errors: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Errors by class, such as NodeError; "other" for all beyond the first 32."""
    latency: Histogram = field(default_factory=Histogram)
    """Evaluation times of successes and failures, without the hop to another process."""
    outputs: dict[str, dict[Bin, int]] = field(default_factory=dict)
    """How often each bin of each output's values came, where the table asks for a sketch."""
    rewards: Rewards = field(default_factory=Rewards)
    routes: dict[Route, Rewards] = field(default_factory=dict)
    """The same by what routers picked."""
    repeated: int = 0
    """Rewards that did not count, for requests that had theirs already."""

    def record(self, seconds: float) -> None:
        """Count a request that was answered after so long."""
        self.requests += 1
        self.latency.add(seconds)

    def fail(self, kind: str, seconds: float) -> None:
        """Count a request that ended with an error of a class, such as NodeError."""
        self.record(seconds)
        self.errors += 1
        count_kind(self.kinds, kind)

    def reward(self, reward: float, judged: Judged | None, picks: Mapping[str, str]) -> None:
        """Count a reward for a request on whose way routers made these ``picks``."""
        self.rewards.add(reward, judged)
        for route in picks.items():
            self.routes.setdefault(route, Rewards()).add(reward, judged)

    def plus(self, other: Self) -> Self:
        """Both together."""
        return self._with(other, _added, _sum, Histogram.plus, Rewards.plus)

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``."""
        return self._with(earlier, _left, _difference, Histogram.minus, Rewards.minus)

    def _with(
        self, other: Self, of: _OfNumbers, bins: _OfCounts, times: _OfTimes, rewards: _OfRewards
    ) -> Self:
        outputs = {
            name: bins(self.outputs.get(name, {}), other.outputs.get(name, {}))
            for name in self.outputs | other.outputs
        }
        routes = {
            route: rewards(self.routes.get(route, Rewards()), other.routes.get(route, Rewards()))
            for route in self.routes | other.routes
        }
        return type(self)(
            requests=of(self.requests, other.requests),
            errors=of(self.errors, other.errors),
            kinds=bins(self.kinds, other.kinds),
            latency=times(self.latency, other.latency),
            outputs={name: found for name, found in outputs.items() if found},
            rewards=rewards(self.rewards, other.rewards),
            routes={route: found for route, found in routes.items() if found.count},
            repeated=of(self.repeated, other.repeated),
        )


@dataclass(slots=True)
class MirrorTally:
    """Copies to one mirror. ``selected`` is ``sent`` plus ``dropped``, at every moment."""

    selected: int = 0
    sent: int = 0
    dropped: int = 0
    """Over the bound on pending copies or bytes."""
    compared: int = 0
    """Copies that were answered; ``agreed`` and ``close`` are of these."""
    agreed: int = 0
    """Equal classes, or for outputs that have none, close."""
    close: int = 0
    """All elements equal, floats within the tolerance."""
    errors: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Errors by class, such as NodeError; "other" for all beyond the first 32."""
    pending: int = 0
    """Copies on their way now: the one field that may shrink."""
    latency: Histogram = field(default_factory=Histogram)
    """Evaluation times of the copies that were answered."""
    primary: Histogram = field(default_factory=Histogram)
    """Evaluation times of the same requests, as the client got them."""

    def fail(self, kind: str) -> None:
        """Count a copy that ended with an error of a class, such as NodeError."""
        self.errors += 1
        count_kind(self.kinds, kind)

    def plus(self, other: Self) -> Self:
        """Both together."""
        pending = self.pending + other.pending
        return self._with(other, pending, _added, _sum, Histogram.plus)

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``; ``pending`` is as now."""
        return self._with(earlier, self.pending, _left, _difference, Histogram.minus)

    def _with(
        self, other: Self, pending: int, of: _OfNumbers, bins: _OfCounts, times: _OfTimes
    ) -> Self:
        return type(self)(
            selected=of(self.selected, other.selected),
            sent=of(self.sent, other.sent),
            dropped=of(self.dropped, other.dropped),
            compared=of(self.compared, other.compared),
            agreed=of(self.agreed, other.agreed),
            close=of(self.close, other.close),
            errors=of(self.errors, other.errors),
            kinds=bins(self.kinds, other.kinds),
            pending=pending,
            latency=times(self.latency, other.latency),
            primary=times(self.primary, other.primary),
        )


@dataclass(slots=True)
class Report:
    """All sums of one router, or of several together, by revision."""

    arms: dict[int, Tally] = field(default_factory=dict)
    mirrors: dict[int, MirrorTally] = field(default_factory=dict)

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(
            {one: self.arm(one).plus(other.arm(one)) for one in self.arms | other.arms},
            {one: self.mirror(one).plus(other.mirror(one)) for one in self.mirrors | other.mirrors},
        )

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``, for the revisions that are in this report."""
        return type(self)(
            {one: tally.minus(earlier.arm(one)) for one, tally in self.arms.items()},
            {one: tally.minus(earlier.mirror(one)) for one, tally in self.mirrors.items()},
        )

    def arm(self, revision: int) -> Tally:
        """The tally of an arm; an empty one, that is not kept, if there is none."""
        return self.arms.get(revision) or Tally()

    def mirror(self, revision: int) -> MirrorTally:
        """The tally of a mirror; an empty one, that is not kept, if there is none."""
        return self.mirrors.get(revision) or MirrorTally()


def merged(reports: Mapping[str, Report]) -> Report:
    """The sum of several routers' reports."""
    result = Report()
    for report in reports.values():
        result = result.plus(report)
    return result


def keep_latest(tallies: dict[int, _Tally], current: Collection[int]) -> None:
    """Drop the sums of revisions that are no longer ``current``, but for the last MAX_FORMER.

    These stay long enough for the requests in progress and the next reports.
    """
    for revision in current:
        if revision in tallies:
            tallies[revision] = tallies.pop(revision)
    former = [revision for revision in tallies if revision not in current]
    for revision in former[:-MAX_FORMER]:
        del tallies[revision]


def count_kind(kinds: dict[str, int], kind: str) -> None:
    """Count one error of a class, in a bounded table."""
    if kind not in kinds and len(kinds) >= MAX_KINDS:
        kind = OTHER
    kinds[kind] = kinds.get(kind, 0) + 1


def _added(one: int, other: int) -> int:
    return one + other


def _left(now: int, then: int) -> int:
    return max(now - then, 0)


def _sum(one: Mapping[_Key, int], other: Mapping[_Key, int]) -> dict[_Key, int]:
    result = {key: count for key, count in one.items() if count}
    for key, count in other.items():
        if count:
            result[key] = result.get(key, 0) + count
    return result


def _difference(now: Mapping[_Key, int], then: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: count - then.get(key, 0) for key, count in now.items() if count > then.get(key, 0)}
