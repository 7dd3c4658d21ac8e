"""The sums of a router as metrics of this process, from where they are exported.

An arm's latency is counted in the finer bins of its ``Tally``, by which rollouts judge; here these
are put into the buckets of the metric, to within the 2 % that a bin is wide.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from anabranch.router.measure.tally import BINS, Histogram, MirrorTally, Report, Tally
from anabranch.router.table import RoutingTable
from anabranch.telemetry import definitions
from anabranch.telemetry.definitions import SECONDS, MetricDefinition
from anabranch.telemetry.registry import REGISTRY, Observed, Registry

Values: TypeAlias = Mapping[tuple[str, ...], float]
"""Values of one metric by those of its labels after graph and revision."""
_T = TypeVar("_T")
_Read: TypeAlias = Callable[[_T], Values]

QUANTILES = (0.5, 0.95, 0.99)
WINDOW = 60
"""Flushes after which the oldest copies drop out of recent figures: half a minute of traffic."""


def _one(read: Callable[[_T], float]) -> _Read[_T]:
    return lambda tally: {(): read(tally)}


def _by_kind(tally: Tally | MirrorTally) -> Values:
    return {(kind,): count for kind, count in tally.kinds.items()}


ARM: Mapping[MetricDefinition, _Read[Tally]] = {
    definitions.ARM_REQUESTS: _one(lambda tally: tally.requests),
    definitions.ARM_ERRORS: _by_kind,
}
TOKENS: Mapping[MetricDefinition, _Read[Tally]] = {
    definitions.ARM_TOKENS: lambda tally: {
        ("prompt",): tally.tokens.prompt,
        ("completion",): tally.tokens.completion,
    },
    definitions.ARM_GENERATION_SECONDS: _one(lambda tally: tally.tokens.microseconds / 1e6),
}
"""Metrics of arms that gave tokens."""
REWARD: Mapping[MetricDefinition, _Read[Tally]] = {
    definitions.ARM_REWARDS: _one(lambda tally: tally.rewards.count),
    definitions.ARM_REWARD_SUM: _one(lambda tally: tally.rewards.total),
    definitions.ARM_REWARDS_REPEATED: _one(lambda tally: tally.repeated),
    definitions.ARM_JUDGED: _one(lambda tally: tally.rewards.judged),
    definitions.ARM_RIGHT: _one(lambda tally: tally.rewards.right),
    definitions.ROUTE_REWARDS: lambda tally: {
        route: found.count for route, found in tally.routes.items()
    },
    definitions.ROUTE_REWARD_SUM: lambda tally: {
        route: found.total for route, found in tally.routes.items()
    },
}
"""Metrics of arms for which there was any feedback."""
MIRROR: Mapping[MetricDefinition, _Read[MirrorTally]] = {
    definitions.MIRROR_SELECTED: _one(lambda tally: tally.selected),
    definitions.MIRROR_SENT: _one(lambda tally: tally.sent),
    definitions.MIRROR_DROPPED: _one(lambda tally: tally.dropped),
    definitions.MIRROR_ERRORS: _by_kind,
    definitions.MIRROR_COMPARED: _one(lambda tally: tally.compared),
    definitions.MIRROR_AGREED: _one(lambda tally: tally.agreed),
    definitions.MIRROR_CLOSE: _one(lambda tally: tally.close),
    definitions.MIRROR_PENDING: _one(lambda tally: tally.pending),
}


class _Recent:
    """Tells apart what came in the last WINDOW to twice WINDOW flushes."""

    def __init__(self) -> None:
        self._older = self._newer = MirrorTally()
        self._age = 0

    def of(self, now: MirrorTally) -> MirrorTally:
        """Return the growth of these sums in recent flushes."""
        found = now.minus(self._older)
        self._age += 1
        if self._age == WINDOW:
            # A sum is a copy; the tally itself goes on changing.
            self._older, self._newer = self._newer, now.plus(MirrorTally())
            self._age = 0
        return found


class Metrics:
    """The metrics of one router; ``flush`` must be called on one thread."""

    def __init__(self, graph: str, registry: Registry = REGISTRY) -> None:
        self._graph = graph
        self._registry = registry
        self._shares: dict[int, float] = {}
        self._recent: dict[int, _Recent] = {}

    def weights(self, table: RoutingTable) -> None:
        """Tell how requests are spread now; arms that are gone have no share."""
        total = math.fsum(table.weights.values())
        shares = {revision: weight / total for revision, weight in table.weights.items()}
        for revision, share in (dict.fromkeys(self._shares, 0.0) | shares).items():
            self._set(definitions.ARM_WEIGHT, revision, share)
        self._shares = shares

    def flush(self, report: Report) -> None:
        """Take a router's sums as they are now; called twice a second.

        Takes about 30 microseconds per arm or mirror.
        """
        for revision, arm in report.arms.items():
            self._put(ARM, revision, arm)
            self._times(definitions.ARM_LATENCY, revision, arm.latency)
            if arm.tokens.answers:
                self._put(TOKENS, revision, arm)
                self._times(definitions.ARM_FIRST_TOKEN, revision, arm.tokens.first)
                self._times(definitions.ARM_FURTHER_TOKEN, revision, arm.tokens.further)
            if arm.rewards.count or arm.repeated:
                self._put(REWARD, revision, arm)
        for revision, mirror in report.mirrors.items():
            self._put(MIRROR, revision, mirror)
            self._difference(revision, self._recent.setdefault(revision, _Recent()).of(mirror))
        for revision in self._recent.keys() - report.mirrors.keys():
            del self._recent[revision]
            self._difference(revision, MirrorTally())

    def _times(self, metric: MetricDefinition, revision: int, times: Histogram) -> None:
        cell = self._registry.distribution(metric, self._graph, str(revision))
        cell.put(_observed(times))

    def _put(
        self, metrics: Mapping[MetricDefinition, _Read[_T]], revision: int, subject: _T
    ) -> None:
        for metric, read in metrics.items():
            for own, value in read(subject).items():
                self._set(metric, revision, value, *own)

    def _set(self, metric: MetricDefinition, revision: int, value: float, *own: str) -> None:
        cell = self._registry.number(metric, self._graph, str(revision), *own)
        cell.value = value

    def _difference(self, revision: int, recent: MirrorTally) -> None:
        """Show the difference of each quantile; none without a copy."""
        metric = definitions.MIRROR_LATENCY_DIFFERENCE
        for share in QUANTILES:
            one, other = recent.latency.quantile(share), recent.primary.quantile(share)
            if one is None or other is None:
                self._registry.forget(metric, self._graph, str(revision), str(share))
            else:
                self._set(metric, revision, one - other, str(share))


def _observed(latency: Histogram) -> Observed:
    """Durations in the buckets of the metric; their sum is within 2 %."""
    inside = [0] * len(SECONDS)
    total = 0.0
    for index, count in latency.counts.items():
        seconds = BINS.middle(index)
        inside[bisect_left(SECONDS, seconds)] += count
        total += seconds * count
    return Observed(tuple(inside), total)
