"""Queries of PromQL over the engine's metrics: names and labels come from the definitions.

An expression is written with the gateway's names; ``named`` turns it into that of another export.
Series are always put together by ``sum`` or ``max``, so that the same query is right for one series
of the engine (the gateway's) and for one of each process (Ray's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from anabranch.telemetry.definitions import MetricDefinition

Source: TypeAlias = Literal["gateway", "ray"]
"""Who exports: the gateway at ``/metrics``, or Ray's agents."""
PREFIXES: dict[Source, str] = {"gateway": "", "ray": "ray_"}
"""What stands in front of the names of metrics and recording rules."""
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
    """An expression, and the metrics that it reads."""

    text: str
    metrics: tuple[MetricDefinition, ...]

    def when(self, comparison: str) -> Expr:
        """Only values for which a comparison such as ``> 0`` holds."""
        return Expr(f"{self.text} {comparison}", self.metrics)

    def summed(self, *by: str) -> Expr:
        """The sum of the values, for each value of the labels ``by``."""
        return Expr(f"{_over('sum', self.metrics[0], by)} ({self.text})", self.metrics)

    def for_each(self, other: Expr, label: str) -> Expr:
        """Divided by what has the same labels, but not this one; nothing where that is 0."""
        return _joined(
            f"{self.text} / ignoring ({label}) group_left () ({other.text} > 0)", self, other
        )

    def both(self, other: Expr, *on: str) -> Expr:
        """Only values for which the other has one too, of the same labels ``on``, if any."""
        labels = f" on ({', '.join(on)})" if on else ""
        return _joined(f"({self.text}) and{labels} ({other.text})", self, other)


def rate(metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RATE) -> Expr:
    """How fast a counter grows, a second, for each value of the labels ``by``."""
    return _grown("rate", metric, by, scope, window)


def increase(metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RANGE) -> Expr:
    """By how much a counter grew."""
    return _grown("increase", metric, by, scope, window)


def change(metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RANGE) -> Expr:
    """By how much a gauge changed."""
    return _grown("delta", metric, by, scope, window)


def level(metric: MetricDefinition, *by: str, scope: Scope = ()) -> Expr:
    """What a gauge is now; processes are put together as the definition says."""
    return Expr(f"{_over(metric.across, metric, by)} ({_selector(metric, scope)})", (metric,))


def calls(metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RATE) -> Expr:
    """How many values a histogram takes, a second."""
    return _grown("rate", metric, by, scope, window, "_count")


def mean(metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RATE) -> Expr:
    """The mean of a histogram's values."""
    total = _grown("rate", metric, by, scope, window, "_sum")
    return per(total, calls(metric, *by, scope=scope, window=window))


def mean_ever(metric: MetricDefinition, *by: str, scope: Scope = ()) -> Expr:
    """The mean of all values so far, for what each process does once."""
    return per(*(_all(metric, suffix, by, scope) for suffix in ("_sum", "_count")))


def lowest(metric: MetricDefinition, *by: str, window: str, scope: Scope = ()) -> Expr:
    """The lowest that a gauge has been over a window."""
    selector = _selector(metric, scope)
    return Expr(f"{_over('min', metric, by)} (min_over_time({selector}[{window}]))", (metric,))


def quantile(
    share: float, metric: MetricDefinition, *by: str, scope: Scope = (), window: str = RATE
) -> Expr:
    """A quantile of a histogram's values; ``share`` is 0.95 for the 95th percentile."""
    grown = _grown("rate", metric, (*by, "le"), scope, window, "_bucket")
    return Expr(f"histogram_quantile({share}, {grown.text})", (metric,))


def buckets(metric: MetricDefinition, scope: Scope = ()) -> Expr:
    """How many values fell below each bound, for a heatmap."""
    return _grown("increase", metric, ("le",), scope, RATE, "_bucket")


def per(one: Expr, other: Expr) -> Expr:
    """The first for each of the second, which have the same labels; nothing where that is 0."""
    return _joined(f"{one.text} / ({other.text} > 0)", one, other)


def share(part: Expr, whole: Expr) -> Expr:
    """What part of the whole, 0 to 1; 0 where there is no part, nothing without a whole.

    Both have the same labels.
    """
    return per(Expr(f"({part.text} or 0 * {whole.text})", part.metrics), whole)


def series(metric: MetricDefinition, scope: Scope = ()) -> str:
    """The metric's own series, for Grafana's ``label_values``."""
    return _selector(metric, scope)


def named(text: str, source: Source) -> str:
    """The text with the names of an export."""
    return re.sub(r"\banabranch(?=[_:])", f"{PREFIXES[source]}anabranch", text)


def _grown(
    function: str,
    metric: MetricDefinition,
    by: Iterable[str],
    scope: Scope,
    window: str,
    suffix: str = "",
) -> Expr:
    selector = _selector(metric, scope, suffix)
    return Expr(f"{_over('sum', metric, by)} ({function}({selector}[{window}]))", (metric,))


def _all(metric: MetricDefinition, suffix: str, by: Iterable[str], scope: Scope) -> Expr:
    return Expr(f"{_over('sum', metric, by)} ({_selector(metric, scope, suffix)})", (metric,))


def _over(how: str, metric: MetricDefinition, by: Iterable[str]) -> str:
    labels = tuple(by)
    unknown = set(labels) - {*metric.labels, "le"}
    if unknown:
        raise ValueError(f"{metric.name} has no label {unknown}; it has {metric.labels}")
    return f"{how} by ({', '.join(labels)})" if labels else how


def _selector(metric: MetricDefinition, scope: Scope, suffix: str = "") -> str:
    known = [one for one in scope if re.split("[=!]", one)[0] in metric.labels]
    return f"{metric.name}{suffix}{{{', '.join(known)}}}" if known else f"{metric.name}{suffix}"


def _joined(text: str, *parts: Expr) -> Expr:
    metrics = dict.fromkeys(metric for part in parts for metric in part.metrics)
    return Expr(text, tuple(metrics))
