"""Registry of a process's counts: cells of plain numbers, read whole by exporters.

A cell is got once, by its labels, and kept; counting is an addition. A cell has one thread that
writes to it, the event loop's for all that belongs to requests, and any may read. Reading costs the
request path nothing: a ``Snapshot`` is taken when it is sent, once a second or so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from anabranch.telemetry.definitions import METRICS, MetricDefinition

Labels: TypeAlias = tuple[str, ...]
L = TypeVar("L", bound=Labels)

MAX_SERIES = 2000
"""Most cells of one metric in a process; further ones share a cell."""
OTHER = "other"
"""The value of every label of the cell that is shared; the graph's name stays."""
MAX_FEATURES = 64
"""Features of one explainer or monitor that have a label of their own."""


class Exemplar(NamedTuple):
    """A value that was observed in a trace, and when, in Unix seconds."""

    trace_id: str
    value: float
    at: float


class Observed(NamedTuple):
    """A histogram's numbers: how many values lie in each bucket, not below its bound."""

    counts: tuple[int, ...]
    total: float
    exemplars: tuple[tuple[int, Exemplar], ...] = ()
    """The latest of each bucket that has one, by the bucket's place."""

    @property
    def number(self) -> int:
        """How many values were observed."""
        return sum(self.counts)


Value: TypeAlias = float | Observed
Snapshot: TypeAlias = Mapping[str, Mapping[Labels, Value]]
"""Values by the metric's name and the values of its labels; plain data, fit for pickling."""


class Number:
    """The cell of a counter or a gauge. Counters are only ever added to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def read(self) -> float:
        """The value now."""
        return self.value


class Distribution:
    """The cell of a histogram."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._total = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count a value; about 0.2 microseconds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def witness(self, value: float, trace_id: str, at: float) -> None:
        """Keep an observed value as the example of its bucket."""
        self._exemplars[bisect_left(self._bounds, value)] = Exemplar(trace_id, value, at)

    def put(self, observed: Observed) -> None:
        """Take over sums that were counted elsewhere."""
        self._counts = list(observed.counts)
        self._total = observed.total

    def read(self) -> Observed:
        """The sums now."""
        return Observed(
            tuple(self._counts), self._total, tuple(sorted(self._exemplars.copy().items()))
        )


class Registry:
    """The cells of one process."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[Labels, Number]] = {}
        self._distributions: dict[str, dict[Labels, Distribution]] = {}

    def number(self, metric: MetricDefinition, *labels: str) -> Number:
        """The cell of a counter or gauge; ``labels`` are values in the order of the metric's."""
        cells = self._numbers.setdefault(metric.name, {})
        key = _key(metric, labels, cells)
        return cells.get(key) or cells.setdefault(key, Number())

    def distribution(self, metric: MetricDefinition, *labels: str) -> Distribution:
        """The cell of a histogram; likewise."""
        cells = self._distributions.setdefault(metric.name, {})
        key = _key(metric, labels, cells)
        return cells.get(key) or cells.setdefault(key, Distribution(metric.bounds))

    def forget(self, metric: MetricDefinition, *labels: str) -> None:
        """Drop a cell: of a gauge whose subject is gone."""
        self._numbers.get(metric.name, {}).pop(labels, None)

    def show(self, metric: MetricDefinition, values: Mapping[L, float]) -> None:
        """Give a gauge these values by their labels, and drop its other cells."""
        for gone in self._numbers.get(metric.name, {}).keys() - values.keys():
            self.forget(metric, *gone)
        for labels, value in values.items():
            self.number(metric, *labels).value = value

    def snapshot(self) -> dict[str, dict[Labels, Value]]:
        """All values as they are now."""
        found: dict[str, dict[Labels, Value]] = {}
        for name, numbers in self._numbers.copy().items():
            found[name] = {key: cell.read() for key, cell in numbers.copy().items()}
        for name, distributions in self._distributions.copy().items():
            found[name] = {key: cell.read() for key, cell in distributions.copy().items()}
        return found


def _key(metric: MetricDefinition, labels: Labels, cells: Mapping[Labels, object]) -> Labels:
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, got {labels}")
    if labels in cells or len(cells) < MAX_SERIES:
        return labels
    return tuple(
        value if name == "graph" else OTHER
        for name, value in zip(metric.labels, labels, strict=True)
    )


def merged(snapshots: Iterable[Snapshot]) -> dict[str, dict[Labels, Value]]:
    """Several processes as one: counters and histograms add up, gauges as they say."""
    result: dict[str, dict[Labels, Value]] = {}
    for snapshot in snapshots:
        for name, values in snapshot.items():
            into, metric = result.setdefault(name, {}), METRICS[name]
            for key, value in values.items():
                into[key] = _both(metric, into[key], value) if key in into else value
    return result


def minus(now: Snapshot, before: Snapshot) -> dict[str, dict[Labels, Value]]:
    """Return the growth of sums, whole where they began anew; gauges are as they are now."""
    return {
        name: {
            key: _less(METRICS[name], value, before[name][key])
            if METRICS[name].lasts and key in before.get(name, {})
            else value
            for key, value in values.items()
        }
        for name, values in now.items()
    }


def lasting(snapshot: Snapshot) -> dict[str, dict[Labels, Value]]:
    """Return the sums of a process that has ended, without its gauges."""
    return {name: dict(cells) for name, cells in snapshot.items() if METRICS[name].lasts}


def _less(metric: MetricDefinition, now: Value, before: Value) -> Value:
    if isinstance(now, Observed) and isinstance(before, Observed):
        counts = tuple(a - b for a, b in zip(now.counts, before.counts, strict=True))
        if min(counts) < 0:
            return now
        return Observed(counts, now.total - before.total, now.exemplars)
    assert not isinstance(now, Observed) and not isinstance(before, Observed)
    return now - before if now >= before or metric.is_sum else now


def _both(metric: MetricDefinition, one: Value, other: Value) -> Value:
    if isinstance(one, Observed) and isinstance(other, Observed):
        counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
        latest = dict(one.exemplars)
        for place, exemplar in other.exemplars:
            if place not in latest or latest[place].at < exemplar.at:
                latest[place] = exemplar
        return Observed(counts, one.total + other.total, tuple(sorted(latest.items())))
    assert not isinstance(one, Observed) and not isinstance(other, Observed)
    return max(one, other) if metric.across == "max" else one + other


class FeatureLabels:
    """The labels of one explainer's or monitor's features: names of the first, OTHER beyond."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def of(self, feature: str) -> str:
        """Return the label of a feature."""
        if len(self._named) < MAX_FEATURES:
            self._named.add(feature)
        return feature if feature in self._named else OTHER


REGISTRY = Registry()
"""The registry of this process."""
