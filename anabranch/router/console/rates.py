"""Rates of a graph, from two snapshots of the engine's metrics: the numbers of the console.

Rates are per second, latencies in seconds; quantiles lie within a bucket by linear interpolation,
as Prometheus' ``histogram_quantile`` has them. What nothing is known of is None.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Any, TypeAlias

from anabranch.telemetry.definitions import (
    EXPLANATIONS,
    HOP_DURATION,
    NODE_DURATION,
    NODE_ERRORS,
    QUEUE_DURATION,
    REPLICAS,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
    ROUTE_REQUESTS,
    MetricDefinition,
)
from anabranch.telemetry.registry import Labels, Observed, Snapshot, Value

Numbers: TypeAlias = dict[str, Any]
_Cells: TypeAlias = dict[str, dict[Labels, Value]]

WINDOW_S = 10.0
"""Time over which rates are taken."""
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses of gRPC that are the server's fault, as 5xx are over HTTP."""
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_SHOWN = frozenset(
    metric.name
    for metric in (
        EXPLANATIONS, HOP_DURATION, NODE_DURATION, NODE_ERRORS, QUEUE_DURATION, REPLICAS,
        REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT, ROUTE_REQUESTS,
    )
)  # fmt: skip
_AUXILIARY = frozenset({"feedback", "other"})
"""Endpoints that ask for no answer of the graph."""
_EXPLAINED = frozenset({"explained", "cached", "refused"})
"""Outcomes of explanations that are not the explainer's fault."""
_DIGITS = 4
"""Significant digits: finer differences are not worth sending."""


class RateWindow:
    """The snapshots of the last WINDOW_S seconds; ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: deque[tuple[float, Snapshot]] = deque()

    def take(self, snapshot: Snapshot, watched: Collection[str]) -> dict[str, Numbers]:
        """Add a snapshot; the numbers of the graphs in it, over the time there is.

        Of those that are not ``watched``, only the requests; see ``numbers``.
        """
        now = self._clock()
        self._taken.append((now, snapshot))
        while len(self._taken) > 2 and now - self._taken[1][0] >= WINDOW_S:
            self._taken.popleft()
        since, before = self._taken[0]
        return numbers(before, snapshot, now - since, watched)

    def forget(self) -> None:
        """Begin anew: nobody has looked for a while."""
        self._taken.clear()


def numbers(
    before: Snapshot, after: Snapshot, seconds: float, watched: Collection[str]
) -> dict[str, Numbers]:
    """The numbers of graphs by name, from snapshots that were taken ``seconds`` apart.

    Of those that are not ``watched``, only the requests.
    """
    old, new = _by_graph(before), _by_graph(after)
    found = {}
    for graph in sorted(new):
        change = _Change(old.get(graph, {}), new[graph], seconds)
        found[graph] = {"requests": _requests(change)}
        if graph in watched:
            found[graph] |= _details(change)
    return found


def _by_graph(snapshot: Snapshot) -> dict[str, _Cells]:
    """The cells of each graph, by metric and by labels but for the graph, which is the first."""
    found: dict[str, _Cells] = {}
    for name in _SHOWN & snapshot.keys():
        cells = snapshot[name]
        for (graph, *labels), value in cells.items():
            found.setdefault(graph, {}).setdefault(name, {})[tuple(labels)] = value
    return found


def _details(change: _Change) -> Numbers:
    return {
        "nodes": _by_revision(change.nodes()),
        "routes": _by_revision(change.routes()),
        "hops": _by_revision(change.timed(HOP_DURATION)),
        "replicas": _by_revision(change.replicas()),
    }


def _requests(change: _Change) -> Numbers:
    grown = change.grown(REQUESTS)
    counted = [(labels, count) for labels, count in grown if labels[0] not in _AUXILIARY]
    total = sum(count for _, count in counted)
    failed = sum(count for labels, count in counted if is_fault(labels[2]))
    return {
        "per_second": change.rate(total),
        "failed_per_second": change.rate(failed),
        "error_rate": _rounded(failed / total) if total else None,
        "in_flight": change.now(REQUESTS_IN_FLIGHT),
        **change.quantiles(REQUEST_DURATION),
    }


def is_fault(code: str) -> bool:
    """Return whether a status, a number of HTTP or a name of gRPC, says that the server failed."""
    return code.startswith("5") or code in _FAULTS


class _Change:
    """The change of a graph's metrics between two snapshots."""

    def __init__(self, before: _Cells, after: _Cells, seconds: float) -> None:
        self._before, self._after, self._seconds = before, after, seconds

    def rate(self, count: float) -> float | None:
        return _rounded(count / self._seconds) if self._seconds > 0 else None

    def grown(self, metric: MetricDefinition) -> Iterator[tuple[Labels, float]]:
        """By how much each counter has grown, by its labels."""
        for labels, value in self._cells(metric):
            before = self._before.get(metric.name, {}).get(labels, 0.0)
            assert not isinstance(value, Observed) and not isinstance(before, Observed)
            yield labels, value - before if value >= before else value

    def observed(self, metric: MetricDefinition) -> Iterator[tuple[Labels, list[int]]]:
        """Return how many values came into each bucket of a histogram, likewise."""
        for labels, value in self._cells(metric):
            before = self._before.get(metric.name, {}).get(labels)
            assert isinstance(value, Observed)
            yield labels, _news(value, before if isinstance(before, Observed) else None)

    def now(self, metric: MetricDefinition) -> float | None:
        """The sum of a metric's gauges."""
        found = [value for _, value in self._cells(metric)]
        return sum(one for one in found if not isinstance(one, Observed)) if found else None

    def quantiles(self, metric: MetricDefinition) -> Numbers:
        """Return the quantiles over all of a metric's histograms but the auxiliary endpoints'."""
        found = self.observed(metric)
        asked = [counts for labels, counts in found if labels[0] not in _AUXILIARY]
        columns = zip(*asked, strict=True)
        return quantiles(metric, [sum(column) for column in columns])

    def timed(self, metric: MetricDefinition) -> dict[Labels, Numbers]:
        """Rate and quantiles of each of a metric's histograms."""
        return {
            labels: {"per_second": self.rate(sum(counts)), **quantiles(metric, counts)}
            for labels, counts in self.observed(metric)
        }

    def nodes(self) -> Mapping[Labels, Numbers]:
        found = self.timed(NODE_DURATION)
        for labels, count in self.grown(NODE_ERRORS):
            node = found.setdefault(labels[:2], {"per_second": self.rate(0.0)})
            node["failed_per_second"] = _added(node.get("failed_per_second"), self.rate(count))
        for labels, waits in self.timed(QUEUE_DURATION).items():
            if labels in found:
                found[labels]["queue_p99"] = waits["p99"]
        found.update(self.explainers())
        return found

    def explainers(self) -> Mapping[Labels, Numbers]:
        """Explanations, and those of them that failed, came late or found no place."""
        asked: dict[Labels, float] = {}
        failed: dict[Labels, float] = {}
        for (*place, outcome), count in self.grown(EXPLANATIONS):
            node = tuple(place)
            asked[node] = asked.get(node, 0.0) + count
            failed[node] = failed.get(node, 0.0) + (0.0 if outcome in _EXPLAINED else count)
        return {
            node: {"per_second": self.rate(count), "failed_per_second": self.rate(failed[node])}
            for node, count in asked.items()
        }

    def routes(self) -> Mapping[Labels, float | None]:
        return {labels: self.rate(n) for labels, n in self.grown(ROUTE_REQUESTS)}

    def replicas(self) -> Mapping[Labels, float]:
        found = self._after.get(REPLICAS.name, {})
        return {labels: n for labels, n in found.items() if not isinstance(n, Observed) and n}

    def _cells(self, metric: MetricDefinition) -> Iterator[tuple[Labels, Value]]:
        return iter(self._after.get(metric.name, {}).items())


def _news(now: Observed, before: Observed | None) -> list[int]:
    """Return the growth of each bucket's count; whole where a histogram began anew."""
    if before is None or now.number < before.number:
        return list(now.counts)
    return [max(0, new - old) for new, old in zip(now.counts, before.counts, strict=True)]


def quantiles(metric: MetricDefinition, counts: Sequence[int]) -> Numbers:
    """Quantiles of values that lie in the buckets of a histogram; None without any."""
    return {name: _quantile(metric.bounds, counts, share) for name, share in _QUANTILES.items()}


def _quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    total = sum(counts)
    if not total:
        return None
    wanted, below, lower = share * total, 0, 0.0
    for bound, reached in zip(bounds, accumulate(counts), strict=True):
        if reached >= wanted and reached > below:
            part = (wanted - below) / (reached - below)
            return _rounded(lower if bound == inf else lower + part * (bound - lower))
        below, lower = reached, bound
    return None


def _added(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _by_revision(found: Mapping[Labels, Any]) -> Numbers:
    """Values by revision, and below that by each further label."""
    result: Numbers = {}
    for labels, value in found.items():
        place = result
        for label in labels[:-1]:
            place = place.setdefault(label, {})
        place[labels[-1]] = value
    return result


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
