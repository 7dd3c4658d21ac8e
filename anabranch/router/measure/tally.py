"""Tallies of a router's arms and mirrors: sums that only grow, so windows are differences.

A router sends its sums to the controller twice a second, whole; what is lost on the way is in the
next report, and the controller needs no memory of its own but the sums it has last seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self, TypeAlias, TypeVar

from anabranch.telemetry.log_bins import LogBins, quantile
from anabranch.telemetry.sums import Sums

Bin: TypeAlias = int | str
Route: TypeAlias = tuple[str, str]
"""A router, and what it picked."""
_Tally = TypeVar("_Tally", "Tally", "MirrorTally")

OTHER = "other"
"""The kind of all errors beyond the first MAX_KINDS kinds."""
MAX_KINDS = 32
MAX_FORMER = 32
"""Revisions out of the table whose sums a router keeps."""

ACCURACY = 0.02
"""How far a quantile may be from the true one, as a share of it."""
BINS = LogBins(ACCURACY)
_PER_LOG = BINS.per_log
SHORTEST, LONGEST = 1e-6, 1e5
"""Durations beyond count as these, in seconds; in between lie 634 bins."""


@dataclass(slots=True)
class Histogram(Sums):
    """Durations in logarithmic bins: quantiles are within 2 % of the true ones."""

    counts: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def add(self, seconds: float) -> None:
        """Count one duration."""
        # Not by a method of BINS: this runs for every request, and a call adds 50 ns, or 15 %.
        index = math.ceil(math.log(_within(seconds)) * _PER_LOG)
        self.counts[index] = self.counts.get(index, 0) + 1

    def quantile(self, share: float) -> float | None:
        """The duration, in seconds, below which ``share`` (0 to 1) of them lie; None without any.

        It is within 2 % of the one at position ``share * (n - 1)``, rounded down, in their order.
        """
        index = quantile(sorted(self.counts.items()), self.total, share)
        return None if index is None else BINS.middle(index)


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
class Rewards(Sums):
    """Rewards, and what the truth said of the answers."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    """Sum of the squares."""
    right: int = 0
    """Rows of answers that were as the truth, of those in ``judged``."""
    judged: int = 0
    outside: int = 0
    """Rewards below 0 or above 1."""

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
        self.outside += not 0.0 <= reward <= 1.0
        if judged is not None:
            self.right += judged.right
            self.judged += judged.rows

    def minus(self, earlier: Self) -> Self:
        """Return the growth since ``earlier``; the count tells whether there was any."""
        return Sums.minus(self, earlier) if self.count > earlier.count else type(self)()


@dataclass(slots=True)
class TokenSums(Sums):
    """Tokens of the answers that stream, and of those in which the graph tells them."""

    first: Histogram = field(default_factory=Histogram)
    """Times to the first token of streams."""
    further: Histogram = field(default_factory=Histogram)
    """Mean times of each further token, of streams with more than one."""
    answers: int = 0
    prompt: int = 0
    completion: int = 0
    microseconds: int = 0
    """Time of all these evaluations."""

    @property
    def per_second(self) -> float | None:
        """Completion tokens per second of evaluation; None without any."""
        return 1e6 * self.completion / self.microseconds if self.microseconds else None

    def add(self, prompt: int, completion: int, seconds: float) -> None:
        """Count the tokens of an answer whose evaluation took so long."""
        self.answers += 1
        self.prompt += prompt
        self.completion += completion
        self.microseconds += max(1, round(seconds * 1e6))


@dataclass(slots=True)
class Tally(Sums):
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
    """Rewards by router node and the route that it picked."""
    repeated: int = 0
    """Rewards that did not count, for requests that had theirs already."""
    tokens: TokenSums = field(default_factory=TokenSums)

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


@dataclass(slots=True)
class MirrorTally(Sums):
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

    def minus(self, earlier: Self) -> Self:
        """Return the growth since ``earlier``; ``pending`` is as now."""
        return replace(Sums.minus(self, earlier), pending=self.pending)


@dataclass(slots=True)
class Report(Sums):
    """All sums of one router, or of several together, by revision."""

    arms: dict[int, Tally] = field(default_factory=dict)
    mirrors: dict[int, MirrorTally] = field(default_factory=dict)

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
