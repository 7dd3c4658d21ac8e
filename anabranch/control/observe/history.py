"""The last two hours of every graph, a point every five seconds, in the controller's memory.

A point of a graph has the numbers of the console's tiles, from the metrics of all processes. A
point of an arm has those by which rollouts judge, from the routers' reports. A controller that
starts anew has no past.

One series takes ``POINTS`` rows of 32-bit floats: 34,560 bytes for a graph, 28,800 for an arm. A
graph has at most ``MOST_ARMS`` of these, so 100 graphs take 6.3 MB with one arm each, and at most
15 MB.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anabranch.router.console.rates import numbers
from anabranch.router.measure.tally import Histogram, Report, Tally
from anabranch.telemetry.definitions import REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT
from anabranch.telemetry.registry import Snapshot

INTERVAL_S = 5.0
POINTS = 1440
"""Points that are kept: two hours."""
MOST_ARMS = 4
"""Arms of a graph whose past is kept, those with the latest requests."""
ARM_FIELDS = ("per_second", "error_rate", "p50", "p95", "p99")
FIELDS = (*ARM_FIELDS, "in_flight")
METRICS = frozenset(metric.name for metric in (REQUESTS, REQUEST_DURATION, REQUESTS_IN_FLIGHT))
"""Names of the metrics that points of graphs are made of."""
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_DIGITS = 4
"""Significant digits of a value that is shown."""

Floats = NDArray[np.float32]


class Past(NamedTuple):
    """The past of one graph: Unix times, and values by field, and those of arms by revision.

    ``error_rate`` lies between 0 and 1, latencies are in seconds; NaN where nothing is known.
    """

    at: Sequence[float]
    total: Mapping[str, Sequence[float]]
    arms: Mapping[int, Mapping[str, Sequence[float]]]


class _Series:
    """A ring of rows, one a point; ``used`` is the count of points at the last with requests."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = fields
        self.rows: Floats = np.full((POINTS, len(fields)), np.nan, np.float32)
        self.used = 0

    def put(self, count: int, values: Mapping[str, Any]) -> None:
        row = [values.get(field) for field in self.fields]
        self.rows[count % POINTS] = [np.nan if value is None else value for value in row]
        if values.get("per_second"):
            self.used = count

    def columns(self, order: NDArray[np.int64]) -> dict[str, Sequence[float]]:
        rows = self.rows[order]
        return {field: rows[:, place].tolist() for place, field in enumerate(self.fields)}


class _Counted(NamedTuple):
    """What an arm had counted at the last point."""

    requests: int
    errors: int
    latency: Histogram


class _Graph:
    def __init__(self) -> None:
        self.total = _Series(FIELDS)
        self.arms: dict[int, _Series] = {}
        self.counted: dict[int, _Counted] = {}

    def series(self) -> list[_Series]:
        return [self.total, *self.arms.values()]


class TrafficHistory:
    """The past of all graphs. For one thread; ``clock`` gives Unix time.

    ``snapshot`` gives the sums of ``METRICS``, ``watched`` the sums of a graph's routers.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        watched: Callable[[str], Report],
        graphs: Callable[[], Collection[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._snapshot, self._watched, self._present = snapshot, watched, graphs
        self._clock = clock
        self._at = np.zeros(POINTS)
        self._count = 0
        """Points that were ever taken."""
        self._before: tuple[float, Snapshot] | None = None
        self._graphs: dict[str, _Graph] = {}

    def now(self) -> float:
        """The Unix time by the clock of the points."""
        return self._clock()

    async def run(self) -> None:
        """Take points until cancelled."""
        while True:
            self.take()
            await asyncio.sleep(INTERVAL_S)

    def take(self) -> None:
        """Add a point to every graph; the first call only notes the sums."""
        now, snapshot = self._clock(), self._snapshot()
        before, self._before = self._before, (now, snapshot)
        present = self._present()
        for gone in self._graphs.keys() - set(present):
            del self._graphs[gone]
        if before is None or now <= before[0]:
            return
        seconds = now - before[0]
        found = numbers(before[1], snapshot, seconds, ())
        for name in present:
            graph = self._graphs.setdefault(name, _Graph())
            for series in graph.series():
                series.put(self._count, {})
            graph.total.put(self._count, found.get(name, {}).get("requests", {}))
            self._put_arms(graph, self._watched(name), seconds)
        self._at[self._count % POINTS] = now
        self._count += 1

    def past(self, graph: str, points: int = POINTS) -> Past:
        """The newest points of a graph, oldest first; NaN where the graph was not known."""
        order = self._order(points)
        known = self._graphs.get(graph) or _Graph()
        arms = {number: series.columns(order) for number, series in sorted(known.arms.items())}
        return Past(self._at[order].tolist(), known.total.columns(order), arms)

    def rates(self, points: int) -> tuple[Sequence[float], dict[str, Sequence[float]]]:
        """Unix times of the newest points, and the requests a second of every graph."""
        order = self._order(points)
        place = FIELDS.index("per_second")
        found = {
            name: graph.total.rows[order, place].tolist() for name, graph in self._graphs.items()
        }
        return self._at[order].tolist(), found

    def size(self) -> int:
        """The bytes that the points take."""
        series = [one for graph in self._graphs.values() for one in graph.series()]
        return self._at.nbytes + sum(one.rows.nbytes for one in series)

    def _order(self, points: int) -> NDArray[np.int64]:
        first = max(0, self._count - min(points, POINTS))
        return np.arange(first, self._count) % POINTS

    def _put_arms(self, graph: _Graph, report: Report, seconds: float) -> None:
        for number, tally in report.arms.items():
            before = graph.counted.get(number, _Counted(0, 0, Histogram()))
            values = _values(tally, before, seconds)
            if number not in graph.arms and not values["per_second"]:
                continue
            series = graph.arms.setdefault(number, _Series(ARM_FIELDS))
            series.put(self._count, values)
        graph.counted = {
            number: _Counted(tally.requests, tally.errors, tally.latency)
            for number, tally in report.arms.items()
        }
        over = [n for n, one in graph.arms.items() if self._count - one.used >= POINTS]
        latest = sorted(graph.arms, key=lambda number: (graph.arms[number].used, number))
        for number in {*over, *latest[:-MOST_ARMS]}:
            del graph.arms[number]


def _values(tally: Tally, before: _Counted, seconds: float) -> dict[str, float | None]:
    requests = max(0, tally.requests - before.requests)
    errors = max(0, tally.errors - before.errors)
    latency = tally.latency.minus(before.latency)
    return {
        "per_second": requests / seconds,
        "error_rate": errors / requests if requests else None,
        **{name: latency.quantile(share) for name, share in _QUANTILES.items()},
    }


def shown(values: Sequence[float]) -> list[float | None]:
    """Values as JSON shows them: four significant digits, None for NaN."""
    return [None if value != value else float(f"{value:.{_DIGITS}g}") for value in values]
