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
    Queries,
    Scope,
    Source,
    named,
    per,
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
NEAR = 0.9
"""Share of its memory budget that a replica takes, from which on that is told."""
UNFOLLOWED_S = 900.0
"""Time for which a watched model cannot be followed, in seconds, from which on that is told."""
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
_REVISION = ("graph", "revision")
_revision = Queries(by=_REVISION, window="5m")
_mirror = Queries(by=_REVISION, window="30m")
_agreement = per(_mirror.rate(d.MIRROR_AGREED), _mirror.rate(d.MIRROR_COMPARED))


@dataclass(frozen=True)
class RecordingRule:
    """A query whose result is kept under the name ``record``."""

    record: str
    expr: Expr


@dataclass(frozen=True)
class Alert:
    """A condition that somebody should know of once it has held for ``wait``.

    ``expr`` is over the gateway's names and job.
    """

    name: str
    severity: Severity
    expr: str
    wait: str
    summary: str
    description: str


def _failed(window: str) -> str:
    return f"anabranch:request_errors:ratio_rate{window}"


def _failing(codes: Scope, window: str) -> Expr:
    """Return the share of the requests that ended with some codes."""
    part, whole = (Queries(scope, ("graph",), window=window) for scope in (codes, ()))
    return share(part.rate(d.REQUESTS), whole.rate(d.REQUESTS))


def _quantiles(name: str, metric: MetricDefinition, *by: str) -> Iterator[RecordingRule]:
    for part in (0.5, 0.95, 0.99):
        expr = Queries(by=by, window="5m").quantile(part, metric)
        yield RecordingRule(f"anabranch:{name}:p{part * 100:.0f}_rate5m", expr)


RECORDINGS = (
    RecordingRule("anabranch:requests:rate5m", Queries(window="5m").rate(d.REQUESTS, "graph")),
    *(RecordingRule(_failed(window), _failing(_BAD, window)) for window in _WINDOWS),
    RecordingRule("anabranch:requests_turned_away:ratio_rate5m", _failing(_TURNED_AWAY, "5m")),
    *_quantiles("request_duration_seconds", d.REQUEST_DURATION, "graph", "endpoint"),
    RecordingRule(
        "anabranch:arm_errors:ratio_rate5m",
        share(_revision.rate(d.ARM_ERRORS), _revision.rate(d.ARM_REQUESTS)),
    ),
    *_quantiles("arm_latency_seconds", d.ARM_LATENCY, *_REVISION),
    *_quantiles("node_duration_seconds", d.NODE_DURATION, *_REVISION, "node"),
    RecordingRule("anabranch:mirror_agreed:ratio_rate30m", _agreement),
)
"""All recording rules: ``anabranch:<what>:<operation>``."""


def _burn_alert(severity: Severity, burn: float, long: str, short: str) -> Alert:
    limit = f"> {burn:g} * {1 - OBJECTIVE:.4g}"
    return Alert(
        f"AnabranchErrorBudgetBurn{long.upper()}",
        severity,
        f"{_failed(long)} {limit} and {_failed(short)} {limit}",
        "0s" if long == "1h" else "2m",
        "{{ $labels.graph }} fails {{ $value | humanizePercentage }} of its requests",
        f"The graph {{{{ $labels.graph }}}} spends the errors that {OBJECTIVE:.1%} of good"
        f" requests allow {burn:g} times too fast: {{{{ $value | humanizePercentage }}}} of its"
        f" requests failed over {long}, and go on failing.",
    )


_aborted = Queries(('state="aborted"',), ("graph",), window="1h")
_running = Queries(('state="running"',), (*_REVISION, "segment")).level(d.REPLICAS)
_down = Queries(by=d.SEGMENT_DOWN.labels).level(d.SEGMENT_DOWN)
_memory = Queries(by=d.REPLICA_MEMORY.labels).level(d.REPLICA_MEMORY)
_waiting = Queries(by=("graph",)).level(d.REQUESTS_IN_FLIGHT).when("> 0")
_copies = _mirror.increase(d.MIRROR_COMPARED).when(f"> {_COPIES}")
_drifting = Queries(by=d.MONITOR_DRIFT.labels).level(d.MONITOR_DRIFT)
_dropped = Queries(by=("graph", "outlet", "reason"), window="10m").increase(d.OUTLET_DROPPED)
_unfollowed = Queries(by=d.WATCH_TROUBLE.labels).level(d.WATCH_TROUBLE)
_up = f'up{{job="{JOBS["gateway"]}"}}'

ALERTS = (
    *(_burn_alert(*row) for row in _BURNS),
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
        _running.when("== 0").both(_waiting, "graph").text,
        "2m",
        "{{ $labels.graph }} r{{ $labels.revision }} has no replica of {{ $labels.segment }}",
        "No replica of the segment {{ $labels.segment }} runs, and requests of the graph"
        " {{ $labels.graph }} are waiting.",
    ),
    Alert(
        "AnabranchSegmentDown",
        "page",
        _down.when("== 1").text,
        "1m",
        "{{ $labels.graph }} r{{ $labels.revision }}: the segment {{ $labels.segment }} is down",
        "The segment {{ $labels.segment }} of the graph {{ $labels.graph }} has lost its last"
        " replica, and calls to it fail at once.",
    ),
    Alert(
        "AnabranchMemoryNearBudget",
        "ticket",
        _memory.when(f"> {NEAR:g}").text,
        "2m",
        "{{ $labels.graph }} r{{ $labels.revision }}: a replica of {{ $labels.segment }} has"
        " nearly used up its memory",
        "A replica of the segment {{ $labels.segment }} of the graph {{ $labels.graph }} takes"
        " {{ $value | humanizePercentage }} of its resources.memory, and is replaced above 100%.",
    ),
    Alert(
        "AnabranchMirrorDisagrees",
        "ticket",
        f"anabranch:mirror_agreed:ratio_rate30m < {AGREEMENT:g} and {_copies.text}",
        "10m",
        "{{ $labels.graph }} r{{ $labels.revision }} answers otherwise than its clients got",
        "The mirror r{{ $labels.revision }} of the graph {{ $labels.graph }} agrees with"
        " {{ $value | humanizePercentage }} of the answers of the last half hour.",
    ),
    Alert(
        "AnabranchDrift",
        "ticket",
        _drifting.when("== 1").text,
        "5m",
        "{{ $labels.graph }} r{{ $labels.revision }} drifts by {{ $labels.monitor }}",
        "What the monitor {{ $labels.monitor }} of the graph {{ $labels.graph }} watches is no"
        " longer distributed as in its reference.",
    ),
    Alert(
        "AnabranchWatchFails",
        "ticket",
        _unfollowed.when(f"> {UNFOLLOWED_S:g}").text,
        "0s",
        "{{ $labels.graph }} does not follow {{ $labels.model }}",
        "The model {{ $labels.model }} of the graph {{ $labels.graph }} has not been followed for"
        " {{ $value | humanizeDuration }}; `anabranch status {{ $labels.graph }}` says why.",
    ),
    Alert(
        "AnabranchRolloutAborted",
        "ticket",
        _aborted.level(d.ROLLOUT_STATE)
        .when("== 1")
        .both(_aborted.lowest(d.ROLLOUT_STATE).when("== 0"))
        .text,
        "0s",
        "The rollout of {{ $labels.graph }} was aborted",
        "The candidate of the graph {{ $labels.graph }} was taken back within the last hour.",
    ),
    Alert(
        "AnabranchTelemetryDropped",
        "ticket",
        _dropped.when("> 0").text,
        "10m",
        "{{ $labels.graph }} loses what goes to {{ $labels.outlet }}",
        "{{ $value | humanize }} items for {{ $labels.outlet }} were dropped in ten minutes, as"
        " {{ $labels.reason }}.",
    ),
    Alert(
        "AnabranchEngineGone",
        "page",
        f"{_up} == 0 or absent({_up})",
        "1m",
        "The engine does not answer Prometheus",
        "The engine's metrics cannot be scraped: it is down, or out of reach.",
    ),
)


def to_yaml(source: Source) -> dict[str, Any]:
    """Return the rules as Prometheus reads them, over the metrics of an export."""
    recorded = [
        {"record": named(one.record, source), "expr": named(one.expr.text, source)}
        for one in RECORDINGS
    ]
    return {
        "groups": [
            {"name": "anabranch-recordings", "rules": recorded},
            {"name": "anabranch-alerts", "rules": [_alert(one, source) for one in ALERTS]},
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
