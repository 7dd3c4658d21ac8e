"""Shows the counts of a process as metrics of Ray, whose agent exports them for Prometheus.

Ray puts ``ray_`` in front of every name, leaves ``_total`` as it is, and adds a label that tells
processes apart. A histogram becomes gauges: ``_bucket`` by ``le``, ``_sum`` and ``_count``, each
set to its sum. So they add up over replicas, `rate` and `histogram_quantile` work over any window,
and a flush costs the same whatever the number of requests. Ray's own histogram wants each duration
by itself, two microseconds each, and adds up middles of buckets; and Ray's counters cannot hold the
zeros of empty buckets, without which the lowest bucket that is left would be taken to begin at
zero.
"""

from __future__ import annotations

import math
import time
from itertools import accumulate

from ray.util import metrics as ray_metrics

from anabranch.telemetry.definitions import METRICS, MetricDefinition, bound_label
from anabranch.telemetry.registry import Labels, Observed, Snapshot, Value


class RayMetrics:
    """The metrics of this process. One per process: Ray keeps metrics by name.

    ``show`` writes what has changed since it was last called; about 2 microseconds each.
    """

    def __init__(self) -> None:
        self._counters: dict[str, ray_metrics.Counter] = {}
        self._gauges: dict[str, ray_metrics.Gauge] = {}
        self._last: dict[str, dict[Labels, Value]] = {}

    def show(self, snapshot: Snapshot, again: bool = False) -> None:
        """Show a snapshot; ``again`` also writes gauges that are as before, lest Ray drop them."""
        for name, cells in snapshot.items():
            metric, last = METRICS[name], self._last.setdefault(name, {})
            for labels, value in cells.items():
                before = last.get(labels)
                if value != before or (again and metric.kind != "counter"):
                    last[labels] = value
                    self._put(metric, labels, value, before, again)
            for labels in last.keys() - cells.keys():
                self._gone(metric, labels)
                del last[labels]
            time.sleep(0)  # lets the event loop have the interpreter in between

    def _put(
        self,
        metric: MetricDefinition,
        labels: Labels,
        value: Value,
        before: Value | None,
        again: bool,
    ) -> None:
        if isinstance(value, Observed):
            seen = before if isinstance(before, Observed) and not again else None
            self._put_histogram(metric, labels, value, seen)
        elif metric.kind == "gauge":
            self._gauge(metric.name, metric.help, metric.labels).set(value, _tags(metric, labels))
        else:
            last = before if isinstance(before, float | int) else 0.0
            growth = value - last if value >= last else value  # sums may begin anew
            if growth > 0:
                self._counter(metric).inc(growth, _tags(metric, labels))

    def _put_histogram(
        self, metric: MetricDefinition, labels: Labels, value: Observed, seen: Observed | None
    ) -> None:
        tags = _tags(metric, labels)
        below = tuple(accumulate(value.counts))
        old = [None] * len(below) if seen is None else list(accumulate(seen.counts))
        buckets = self._gauge(f"{metric.name}_bucket", metric.help, (*metric.labels, "le"))
        for bound, count, shown in zip(metric.bounds, below, old, strict=True):
            if count != shown:
                buckets.set(count, {**tags, "le": bound_label(bound)})
        self._gauge(f"{metric.name}_sum", metric.help, metric.labels).set(value.total, tags)
        self._gauge(f"{metric.name}_count", metric.help, metric.labels).set(below[-1], tags)

    def _gone(self, metric: MetricDefinition, labels: Labels) -> None:
        """NaN is what Ray does not export."""
        if metric.kind == "gauge":
            gauge = self._gauge(metric.name, metric.help, metric.labels)
            gauge.set(math.nan, _tags(metric, labels))

    def _counter(self, metric: MetricDefinition) -> ray_metrics.Counter:
        name = metric.name
        if name not in self._counters:
            self._counters[name] = ray_metrics.Counter(name, metric.help, metric.labels)
        return self._counters[name]

    def _gauge(self, name: str, text: str, labels: Labels) -> ray_metrics.Gauge:
        if name not in self._gauges:
            self._gauges[name] = ray_metrics.Gauge(name, text, labels)
        return self._gauges[name]


def _tags(metric: MetricDefinition, labels: Labels) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
