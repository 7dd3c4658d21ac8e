"""The sums of a router as Prometheus metrics, by way of Ray, whose agent exports them.

Ray puts ``ray_`` in front of every name, leaves ``_total`` as it is, and adds a label that tells
the replicas of a router apart. The metrics are defined as data; ``docs/metrics.md`` lists them.

Latencies are exported as the cumulative buckets of a Prometheus histogram, each a gauge that is set
to its sum. So they add up over replicas, `rate` and `histogram_quantile` work over any window, and
a flush costs the same whatever the number of requests. Quantiles could not be added up; Ray's own
histogram wants each duration by itself, two microseconds each, and adds up middles of buckets; and
Ray's counters cannot hold the zeros of empty buckets, without which the lowest bucket that is left
would be taken to begin at zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from ray.util import metrics as ray_metrics

from anabranch.router.samples import Notice, Outcome
from anabranch.router.table import RoutingTable
from anabranch.router.tally import Histogram, MirrorTally, Report, Tally, middle

Values: TypeAlias = Mapping[tuple[str, ...], float]
"""Values of one metric by the values of its own labels."""
_T = TypeVar("_T")

LABELS = ("graph", "revision")
"""Labels of every metric, before its own."""
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf),
)
"""Upper bounds of the buckets of latency, in seconds."""
_BOUND_LABELS = [("+Inf",) if bound == math.inf else (str(bound),) for bound in BOUNDS]
QUANTILES = (0.5, 0.95, 0.99)
WINDOW = 60
"""Flushes after which the oldest copies drop out of recent figures: half a minute."""


@dataclass(frozen=True)
class Definition(Generic[_T]):
    """One metric, and how to read it from what it is of."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[_T], Values]
    labels: tuple[str, ...] = ()


def _buckets(latency: Histogram) -> Values:
    """Return how many durations lie below each bound: to within the 2 % that a bin is wide."""
    inside = [0] * len(BOUNDS)
    for index, count in latency.counts.items():
        inside[bisect_left(BOUNDS, middle(index))] += count
    return dict(zip(_BOUND_LABELS, accumulate(inside), strict=True))


def _latency_difference(recent: MirrorTally) -> Values:
    """Return the difference of each quantile; NaN, which Ray does not export, without a copy."""
    return {
        (str(share),): _less(recent.latency.quantile(share), recent.primary.quantile(share))
        for share in QUANTILES
    }


def _less(one: float | None, other: float | None) -> float:
    return math.nan if one is None or other is None else one - other


def _by_kind(kinds: Mapping[str, int]) -> Values:
    return {(kind,): count for kind, count in kinds.items()}


WEIGHT: Definition[float] = Definition(
    "anabranch_arm_weight",
    "gauge",
    "The arm's share of the requests that go by weight, 0 to 1.",
    lambda share: {(): share},
)
ARM: tuple[Definition[Tally], ...] = (
    Definition(
        "anabranch_arm_requests_total",
        "counter",
        "Requests that the arm evaluated; those that the caller got wrong are left out.",
        lambda tally: {(): tally.requests},
    ),
    Definition(
        "anabranch_arm_errors_total",
        "counter",
        "Requests of these that failed, by class of error, such as NodeError.",
        lambda tally: _by_kind(tally.kinds),
        labels=("kind",),
    ),
    Definition(
        "anabranch_arm_latency_seconds_bucket",
        "gauge",
        "Requests that took at most `le` seconds to evaluate, without the hop to the arm.",
        lambda tally: _buckets(tally.latency),
        labels=("le",),
    ),
)
REWARD: tuple[Definition[Tally], ...] = (
    Definition(
        "anabranch_arm_rewards_total",
        "counter",
        "Rewards that counted for the arm's answers.",
        lambda tally: {(): tally.rewards.count},
    ),
    Definition(
        "anabranch_arm_reward_sum",
        "gauge",
        "Sum of these, which may shrink; over their number, the mean.",
        lambda tally: {(): tally.rewards.total},
    ),
    Definition(
        "anabranch_arm_rewards_repeated_total",
        "counter",
        "Rewards that did not count, for requests that had theirs already.",
        lambda tally: {(): tally.repeated},
    ),
    Definition(
        "anabranch_arm_judged_total",
        "counter",
        "Rows of answers that were held against the truth.",
        lambda tally: {(): tally.rewards.judged},
    ),
    Definition(
        "anabranch_arm_right_total",
        "counter",
        "Rows of these that were right.",
        lambda tally: {(): tally.rewards.right},
    ),
    Definition(
        "anabranch_route_rewards_total",
        "counter",
        "Rewards for requests that a router of the graph sent along a route.",
        lambda tally: {route: found.count for route, found in tally.routes.items()},
        labels=("router", "route"),
    ),
    Definition(
        "anabranch_route_reward_sum",
        "gauge",
        "Sum of these, which may shrink.",
        lambda tally: {route: found.total for route, found in tally.routes.items()},
        labels=("router", "route"),
    ),
)
"""Those of arms for which there was any feedback."""
MIRROR: tuple[Definition[MirrorTally], ...] = (
    Definition(
        "anabranch_mirror_selected_total",
        "counter",
        "Requests of which a copy was due: those sent and those dropped.",
        lambda tally: {(): tally.selected},
    ),
    Definition(
        "anabranch_mirror_sent_total",
        "counter",
        "Copies that were sent.",
        lambda tally: {(): tally.sent},
    ),
    Definition(
        "anabranch_mirror_dropped_total",
        "counter",
        "Copies that were not sent, because too many, or too large ones, were on their way.",
        lambda tally: {(): tally.dropped},
    ),
    Definition(
        "anabranch_mirror_errors_total",
        "counter",
        "Copies that failed, by class of error.",
        lambda tally: _by_kind(tally.kinds),
        labels=("kind",),
    ),
    Definition(
        "anabranch_mirror_compared_total",
        "counter",
        "Copies that were answered, and compared with what the client got.",
        lambda tally: {(): tally.compared},
    ),
    Definition(
        "anabranch_mirror_agreed_total",
        "counter",
        "Answers of these that agreed: equal classes, or close where there are none.",
        lambda tally: {(): tally.agreed},
    ),
    Definition(
        "anabranch_mirror_close_total",
        "counter",
        "Answers of these whose every element was equal, floats within the tolerance.",
        lambda tally: {(): tally.close},
    ),
    Definition(
        "anabranch_mirror_pending",
        "gauge",
        "Copies on their way now.",
        lambda tally: {(): tally.pending},
    ),
)
RECENT: tuple[Definition[MirrorTally], ...] = (
    Definition(
        "anabranch_mirror_latency_difference_seconds",
        "gauge",
        "How much longer the mirror took than the client's arm, over the last half to one minute: "
        "the difference of the quantiles; absent without a copy.",
        _latency_difference,
        labels=("quantile",),
    ),
)
"""What is read of the latest copies alone."""
DEFINITIONS: tuple[Definition[Any], ...] = (WEIGHT, *ARM, *REWARD, *MIRROR, *RECENT)


class _Metric(Protocol):
    def put(self, value: float, tags: dict[str, str]) -> None:
        """Take what the value is now."""
        ...


class _Counter:
    """A Ray counter of a sum: it grows by as much as the sum, which may begin anew."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._metric = ray_metrics.Counter(name, text, labels)
        self._last: dict[tuple[str, ...], float] = {}

    def put(self, value: float, tags: dict[str, str]) -> None:
        key = tuple(tags.values())
        last = self._last.get(key, 0)
        growth = value - last if value >= last else value
        self._last[key] = value
        if growth > 0:
            self._metric.inc(growth, tags)


class _Gauge:
    """A Ray gauge: it is what it was last set to."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._metric = ray_metrics.Gauge(name, text, labels)

    def put(self, value: float, tags: dict[str, str]) -> None:
        self._metric.set(value, tags)


_KINDS: dict[str, Callable[[str, str, tuple[str, ...]], _Metric]] = {
    "counter": _Counter,
    "gauge": _Gauge,
}


class _Recent:
    """Tells apart what came in the last WINDOW to twice WINDOW flushes."""

    def __init__(self) -> None:
        self._older = self._newer = MirrorTally()
        self._age = 0

    def of(self, now: MirrorTally) -> MirrorTally:
        """What was added of late to these sums."""
        found = now.minus(self._older)
        self._age += 1
        if self._age == WINDOW:
            # A sum is a copy; the tally itself goes on changing.
            self._older, self._newer = self._newer, now.plus(MirrorTally())
            self._age = 0
        return found


class Metrics:
    """The metrics of one router. One per process and graph: Ray keeps metrics by name."""

    def __init__(self, graph: str) -> None:
        self._graph = graph
        self._shares: dict[int, float] = {}
        self._recent: dict[int, _Recent] = {}
        self._metrics: dict[str, _Metric] = {
            one.name: _KINDS[one.kind](one.name, one.help, (*LABELS, *one.labels))
            for one in DEFINITIONS
        }

    def weights(self, table: RoutingTable) -> None:
        """Tell how requests are spread now; arms that are gone have no share."""
        total = math.fsum(table.weights.values())
        shares = {revision: weight / total for revision, weight in table.weights.items()}
        for revision, share in (dict.fromkeys(self._shares, 0.0) | shares).items():
            self._put(WEIGHT, revision, share)
        self._shares = shares

    def flush(self, report: Report) -> None:
        """Take a router's sums as they are now; called twice a second.

        Takes 100 to 300 microseconds per arm or mirror.
        """
        for revision, arm in report.arms.items():
            for of_arm in ARM:
                self._put(of_arm, revision, arm)
            if arm.rewards.count or arm.repeated:
                for of_rewards in REWARD:
                    self._put(of_rewards, revision, arm)
        for revision, mirror in report.mirrors.items():
            for of_mirror in MIRROR:
                self._put(of_mirror, revision, mirror)
            recent = self._recent.setdefault(revision, _Recent()).of(mirror)
            for of_recent in RECENT:
                self._put(of_recent, revision, recent)
        for revision in self._recent.keys() - report.mirrors.keys():
            del self._recent[revision]

    def _put(self, one: Definition[_T], revision: int, subject: _T) -> None:
        for own, value in one.read(subject).items():
            values = (self._graph, str(revision), *own)
            tags = dict(zip((*LABELS, *one.labels), values, strict=True))
            self._metrics[one.name].put(value, tags)


SAMPLES = "anabranch_explainer_samples_total"


def counted_samples(graph: str) -> Notice:
    """What counts the samples of a router that were sent to explainers, as a metric of Ray."""
    counter = ray_metrics.Counter(
        SAMPLES,
        "Requests that were drawn to be explained, by outcome: explained, failed, or dropped, "
        "because too many, or too large ones, were on their way.",
        (*LABELS, "node", "outcome"),
    )

    def notice(revision: str, explainer: str, outcome: Outcome) -> None:
        tags = {"graph": graph, "revision": revision, "node": explainer, "outcome": outcome}
        counter.inc(1, tags)

    return notice
