"""A snapshot as text for Prometheus: OpenMetrics for who asks for it, else the classic format.

OpenMetrics 1.0 alone carries exemplars; https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown

from anabranch.telemetry.definitions import METRICS, MetricDefinition, bound_label
from anabranch.telemetry.registry import Exemplar, Labels, Observed, Snapshot, Value


def exposition(snapshot: Snapshot, accept: str = "") -> tuple[str, bytes]:
    """Return the snapshot's content type and text, for a client with this ``Accept`` header."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(snapshot))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Collected(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterator[Family]:
        for name, metric in METRICS.items():
            cells = self._snapshot.get(name)
            if cells:
                family = _KINDS[metric.kind](name, metric.help)
                for labels, value in cells.items():
                    _add(family, metric, labels, value)
                yield family


_KINDS = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _add(family: Family, metric: MetricDefinition, labels: Labels, value: Value) -> None:
    named = dict(zip(metric.labels, labels, strict=True))
    if not isinstance(value, Observed):
        family.add_sample(metric.name, named, value)
        return
    examples = dict(value.exemplars)
    for place, count in enumerate(accumulate(value.counts)):
        bound = {"le": bound_label(metric.bounds[place])}
        shown = _exemplar(examples.get(place))
        family.add_sample(f"{metric.name}_bucket", {**named, **bound}, count, exemplar=shown)
    family.add_sample(f"{metric.name}_count", named, value.number)
    family.add_sample(f"{metric.name}_sum", named, value.total)


def _exemplar(found: Exemplar | None) -> Shown | None:
    if found is None:
        return None
    return Shown({"trace_id": found.trace_id}, found.value, found.at)
