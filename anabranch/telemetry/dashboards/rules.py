"""Recording and alerting rules for Prometheus.

The error budget's alerts are those of chapter 5 of Google's Site Reliability Workbook, "Alerting on
SLOs", https://sre.google/workbook/alerting-on-slos/: a burn rate that holds over a long window, and
over a twelfth of it, so that the alert ends soon after the errors do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.promql import (
    FAILED,
    JOBS,
    Expr,
    Scope,
    Source,
    increase,
    level,
    lowest,
    named,
    per,
    quantile,
    rate,
    share,
)
from anabranch.telemetry.definitions import MetricDefinition

Severity: TypeAlias = Literal["page", "ticket"]

OBJECTIVE = 0.999
"""Share of requests that the engine should not fail, over 30 days."""
SLOW_S = 1.0
"""99th percentile of predictions, in seconds, from which on a graph is slow."""
FULL = 0.01
"""Share of requests that are turned away for want of room, from which on that is told."""
AGREEMENT = 0.95
"""Share of a mirror's answers that should agree."""
_COPIES = 100
"""Copies without which a mirror's agreement says little."""
_BURNS: tuple[tuple[Severity, float, str, str], ...] = (
    ("page", 14.4, "1h", "5m"),
    ("page", 6, "6h", "30m"),
    ("ticket", 1, "3d", "6h"),
)
"""Severity, burn rate, long and short window: table 5-8 of the workbook."""

_BAD: Scope = (f'code=~"{FAILED}"',)
_TURNED_AWAY: Scope = ('code=~"503|UNAVAILABLE"',)
_WINDOWS = ("5m", "30m", "1h", "6h", "3d")


@dataclass(frozen=True)
class RecordingRule:
    """A query whose result is kept under the name ``record``."""

    record: str
    expr: Expr


@dataclass(frozen=True)
class Alert:
    """A condition that somebody should know of once it has held for ``wait``."""

    name: str
    severity: Severity
    expr: str
    """Over the gateway's names and job."""
    wait: str
    summary: str
    description: str


def recordings() -> tuple[RecordingRule, ...]:
    """All recording rules: ``anabranch:<what>:<operation>``."""
    return (
        RecordingRule("anabranch:requests:rate5m", rate(d.REQUESTS, "graph", window="5m")),
        *(RecordingRule(_failed(window), _failing(_BAD, window)) for window in _WINDOWS),
        RecordingRule("anabranch:requests_turned_away:ratio_rate5m", _failing(_TURNED_AWAY, "5m")),
        *_quantiles("request_duration_seconds", d.REQUEST_DURATION, "graph", "endpoint"),
        RecordingRule(
            "anabranch:arm_errors:ratio_rate5m",
            share(
                rate(d.ARM_ERRORS, "graph", "revision", window="5m"),
                rate(d.ARM_REQUESTS, "graph", "revision", window="5m"),
            ),
        ),
        *_quantiles("arm_latency_seconds", d.ARM_LATENCY, "graph", "revision"),
        *_quantiles("node_duration_seconds", d.NODE_DURATION, "graph", "revision", "node"),
        RecordingRule(
            "anabranch:mirror_agreed:ratio_rate30m",
            per(
                rate(d.MIRROR_AGREED, "graph", "revision", window="30m"),
                rate(d.MIRROR_COMPARED, "graph", "revision", window="30m"),
            ),
        ),
    )


def alerts() -> tuple[Alert, ...]:
    """All alerting rules."""
    return (*_burns(), *_service(), *_models(), *_engine())


def to_yaml(source: Source) -> dict[str, Any]:
    """The rules as Prometheus reads them, over the metrics of an export."""
    recorded = [
        {"record": named(one.record, source), "expr": named(one.expr.text, source)}
        for one in recordings()
    ]
    return {
        "groups": [
            {"name": "anabranch-recordings", "rules": recorded},
            {"name": "anabranch-alerts", "rules": [_alert(one, source) for one in alerts()]},
        ]
    }


def _alert(alert: Alert, source: Source) -> dict[str, Any]:
    expr = alert.expr.replace(f'job="{JOBS["gateway"]}"', f'job="{JOBS[source]}"')
    return {
        "alert": alert.name,
        "expr": named(expr, source),
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"docs/dashboards.md#{alert.name.lower()}",
        },
    }


def _failed(window: str) -> str:
    return f"anabranch:request_errors:ratio_rate{window}"


def _failing(codes: Scope, window: str) -> Expr:
    """The share of the requests that ended with some codes."""
    return share(
        rate(d.REQUESTS, "graph", scope=codes, window=window),
        rate(d.REQUESTS, "graph", window=window),
    )


def _quantiles(name: str, metric: MetricDefinition, *by: str) -> Iterator[RecordingRule]:
    for part in (0.5, 0.95, 0.99):
        yield RecordingRule(
            f"anabranch:{name}:p{part * 100:.0f}_rate5m",
            quantile(part, metric, *by, window="5m"),
        )


def _burns() -> Iterator[Alert]:
    for severity, burn, long, short in _BURNS:
        limit = f"> {burn:g} * {1 - OBJECTIVE:.4g}"
        yield Alert(
            f"AnabranchErrorBudgetBurn{long.upper()}",
            severity,
            f"{_failed(long)} {limit} and {_failed(short)} {limit}",
            "0s" if long == "1h" else "2m",
            "{{ $labels.graph }} fails {{ $value | humanizePercentage }} of its requests",
            f"The graph {{{{ $labels.graph }}}} spends the errors that {OBJECTIVE:.1%} of good"
            f" requests allow {burn:g} times too fast: {{{{ $value | humanizePercentage }}}} of its"
            f" requests failed over {long}, and go on failing.",
        )


def _service() -> tuple[Alert, ...]:
    running = level(d.REPLICAS, "graph", "revision", "segment", scope=('state="running"',))
    waiting = level(d.REQUESTS_IN_FLIGHT, "graph").when("> 0")
    return (
        Alert(
            "AnabranchSlow",
            "ticket",
            f'anabranch:request_duration_seconds:p99_rate5m{{endpoint="infer"}} > {SLOW_S:g}',
            "10m",
            "{{ $labels.graph }} is slow",
            "One prediction in a hundred of the graph {{ $labels.graph }} takes longer than"
            " {{ $value | humanizeDuration }}.",
        ),
        Alert(
            "AnabranchSaturated",
            "page",
            f"anabranch:requests_turned_away:ratio_rate5m > {FULL:g}",
            "5m",
            "{{ $labels.graph }} turns requests away",
            "The graph {{ $labels.graph }} answers {{ $value | humanizePercentage }} of its"
            " requests with 503: its queues are full, or no replica is healthy.",
        ),
        Alert(
            "AnabranchNoReplica",
            "page",
            running.when("== 0").both(waiting, "graph").text,
            "2m",
            "{{ $labels.graph }} r{{ $labels.revision }} has no replica of {{ $labels.segment }}",
            "No replica of the segment {{ $labels.segment }} runs, and requests of the graph"
            " {{ $labels.graph }} are waiting.",
        ),
    )


def _models() -> tuple[Alert, ...]:
    copies = increase(d.MIRROR_COMPARED, "graph", "revision", window="30m")
    aborted: Scope = ('state="aborted"',)
    before = lowest(d.ROLLOUT_STATE, "graph", window="1h", scope=aborted)
    return (
        Alert(
            "AnabranchMirrorDisagrees",
            "ticket",
            f"anabranch:mirror_agreed:ratio_rate30m < {AGREEMENT:g}"
            f" and {copies.when(f'> {_COPIES}').text}",
            "10m",
            "{{ $labels.graph }} r{{ $labels.revision }} answers otherwise than its clients got",
            "The mirror r{{ $labels.revision }} of the graph {{ $labels.graph }} agrees with"
            " {{ $value | humanizePercentage }} of the answers of the last half hour.",
        ),
        Alert(
            "AnabranchDrift",
            "ticket",
            level(d.MONITOR_DRIFT, *d.MONITOR_DRIFT.labels).when("== 1").text,
            "5m",
            "{{ $labels.graph }} r{{ $labels.revision }} drifts by {{ $labels.monitor }}",
            "What the monitor {{ $labels.monitor }} of the graph {{ $labels.graph }} watches is no"
            " longer distributed as in its reference.",
        ),
        Alert(
            "AnabranchRolloutAborted",
            "ticket",
            level(d.ROLLOUT_STATE, "graph", scope=aborted)
            .when("== 1")
            .both(before.when("== 0"))
            .text,
            "0s",
            "The rollout of {{ $labels.graph }} was aborted",
            "The candidate of the graph {{ $labels.graph }} was taken back within the last hour.",
        ),
    )


def _engine() -> tuple[Alert, ...]:
    up = f'up{{job="{JOBS["gateway"]}"}}'
    return (
        Alert(
            "AnabranchTelemetryDropped",
            "ticket",
            increase(d.OUTLET_DROPPED, "graph", "outlet", "reason", window="10m").when("> 0").text,
            "10m",
            "{{ $labels.graph }} loses what goes to {{ $labels.outlet }}",
            "{{ $value | humanize }} items for {{ $labels.outlet }} were dropped in ten minutes, as"
            " {{ $labels.reason }}.",
        ),
        Alert(
            "AnabranchEngineGone",
            "page",
            f"{up} == 0 or absent({up})",
            "1m",
            "The engine does not answer Prometheus",
            "The engine's metrics cannot be scraped: it is down, or out of reach.",
        ),
    )
