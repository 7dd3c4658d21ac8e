"""Queries of PromQL over the engine's metrics: names and labels come from the definitions.

An expression is written with the gateway's names; ``named`` turns it into that of another export.
Series are always put together by ``sum`` or ``max``, so that the same query is right for one series
of the engine (the gateway's) and for one of each process (Ray's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from anabranch.telemetry.definitions import MetricDefinition

Source: TypeAlias = Literal["gateway", "ray"]
"""Exporter of a metric: the gateway at ``/metrics``, or Ray's agents."""
PREFIXES: dict[Source, str] = {"gateway": "", "ray": "ray_"}
"""Prefixes of the names of metrics and recording rules, by exporter."""
JOBS: dict[Source, str] = {"gateway": "anabranch", "ray": "ray"}
"""The job that scrapes the export, in ``deploy/prometheus/prometheus.yml``."""

Scope: TypeAlias = tuple[str, ...]
"""Matchers such as ``graph="digits"``; each counts for the metrics that have its label."""

RATE = "$__rate_interval"
"""Grafana's window for rates: long enough for the scrape interval."""
RANGE = "$__range"
"""The time that the dashboard shows."""
FAILED = "5..|UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
"""Codes of requests that the engine failed, of HTTP and of gRPC; not of those who hung up."""


@dataclass(frozen=True)
class Expr:
    """An expression, its metrics, and the name of its series, in which labels stand in ``{}``."""

    text: str
    metrics: tuple[MetricDefinition, ...]
    legend: str = ""

    def called(self, legend: str) -> Expr:
        """Return the same under another name."""
        return replace(self, legend=legend)

    def part(self, name: str) -> Expr:
        """Return the same with a word behind its name, to tell it from others of the panel."""
        return replace(self, legend=f"{self.legend} {name}")

    def when(self, comparison: str) -> Expr:
        """Keep only values for which a comparison such as ``> 0`` holds."""
        return replace(self, text=f"{self.text} {comparison}")

    def summed(self, *by: str) -> Expr:
        """Return the sum of the values, for each value of the labels ``by``."""
        legend = " ".join(f"{{{label}}}" for label in by)
        return Expr(f"{_over('sum', self.metrics[0], by)} ({self.text})", self.metrics, legend)

    def for_each(self, other: Expr, label: str) -> Expr:
        """Divide by an expression with the same labels but this one; no value where that is 0."""
        return _joined(
            f"{self.text} / ignoring ({label}) group_left () ({other.text} > 0)", self, other
        )

    def both(self, other: Expr, *on: str) -> Expr:
        """Keep only values for which the other has one too, of the same labels ``on``, if any."""
        labels = f" on ({', '.join(on)})" if on else ""
        return _joined(f"({self.text}) and{labels} ({other.text})", self, other)


@dataclass(frozen=True)
class Queries:
    """Makes expressions over the series of a scope, for each value of the labels ``by``.

    A method's own labels come after these, and so do they in the ``legend``. Without a ``window``,
    rates are over Grafana's interval, and growth is over the time that the dashboard shows.
    """

    scope: Scope = ()
    by: tuple[str, ...] = ()
    legend: str = ""
    window: str = ""

    def rate(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return how fast a counter grows, a second."""
        return self._grown("rate", metric, by)

    def rates(self, **metrics: MetricDefinition) -> tuple[Expr, ...]:
        """Return how fast some counters grow, each with its word behind the name."""
        return tuple(
            self.rate(metric).part(word.replace("_", " ")) for word, metric in metrics.items()
        )

    def increase(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return by how much a counter grew."""
        return self._grown("increase", metric, by, RANGE)

    def change(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return by how much a gauge changed."""
        return self._grown("delta", metric, by, RANGE)

    def level(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return a gauge's value; processes are put together as the definition says."""
        return self._all(metric.across, metric, by)

    def lowest(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return the lowest value that a gauge had over the window."""
        return self._grown("min_over_time", metric, by, how="min")

    def calls(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return how many values a histogram takes, a second."""
        return self._grown("rate", metric, by, suffix="_count")

    def mean(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return the mean of a histogram's values."""
        return per(self._grown("rate", metric, by, suffix="_sum"), self.calls(metric, *by))

    def mean_ever(self, metric: MetricDefinition, *by: str) -> Expr:
        """Return the mean of all values so far, for events that each process has once."""
        return per(*(self._all("sum", metric, by, suffix) for suffix in ("_sum", "_count")))

    def quantile(self, part: float, metric: MetricDefinition, *by: str) -> Expr:
        """Return a quantile of a histogram's values; ``part`` is 0.95 for the 95th percentile."""
        grown = self._grown("rate", metric, (*by, "le"), suffix="_bucket")
        return self._expr(f"histogram_quantile({part}, {grown.text})", metric, by)

    def buckets(self, metric: MetricDefinition) -> Expr:
        """Return how many values fell below each bound, for a heatmap."""
        return self._grown("increase", metric, ("le",), suffix="_bucket")

    def series(self, metric: MetricDefinition) -> str:
        """Return the metric's own series, for Grafana's ``label_values``."""
        return self._selector(metric)

    def _grown(
        self,
        function: str,
        metric: MetricDefinition,
        by: tuple[str, ...],
        window: str = RATE,
        suffix: str = "",
        how: str = "sum",
    ) -> Expr:
        series = f"{self._selector(metric, suffix)}[{self.window or window}]"
        return self._expr(f"{_over(how, metric, self.by + by)} ({function}({series}))", metric, by)

    def _all(
        self, how: str, metric: MetricDefinition, by: tuple[str, ...], suffix: str = ""
    ) -> Expr:
        over = _over(how, metric, self.by + by)
        return self._expr(f"{over} ({self._selector(metric, suffix)})", metric, by)

    def _expr(self, text: str, metric: MetricDefinition, by: tuple[str, ...]) -> Expr:
        legend = " ".join([self.legend, *(f"{{{label}}}" for label in by)]).strip()
        return Expr(text, (metric,), legend)

    def _selector(self, metric: MetricDefinition, suffix: str = "") -> str:
        known = [one for one in self.scope if re.split("[=!]", one)[0] in metric.labels]
        return metric.name + suffix + (f"{{{', '.join(known)}}}" if known else "")


def per(one: Expr, other: Expr) -> Expr:
    """Return the first divided by the second, of the same labels; no value where that is 0."""
    return _joined(f"{one.text} / ({other.text} > 0)", one, other)


def share(part: Expr, whole: Expr) -> Expr:
    """Return the part of the whole, 0 to 1; 0 where there is no part, no value without a whole.

    Both have the same labels.
    """
    return per(replace(part, text=f"({part.text} or 0 * {whole.text})"), whole)


def named(text: str, source: Source) -> str:
    """Return the text with the names of an export."""
    return re.sub(r"\banabranch(?=[_:])", f"{PREFIXES[source]}anabranch", text)


def _over(how: str, metric: MetricDefinition, by: Iterable[str]) -> str:
    labels = tuple(by)
    unknown = set(labels) - {*metric.labels, "le"}
    if unknown:
        raise ValueError(f"{metric.name} has no label {unknown}; it has {metric.labels}")
    return f"{how} by ({', '.join(labels)})" if labels else how


def _joined(text: str, *parts: Expr) -> Expr:
    metrics = dict.fromkeys(metric for part in parts for metric in part.metrics)
    return Expr(text, tuple(metrics), parts[0].legend)
