"""The dashboard of all graphs: what is asked, how it goes, and what has changed."""

from __future__ import annotations

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import Dashboard, GrafanaPanel, Query, Section, Variable
from anabranch.telemetry.dashboards.promql import (
    FAILED,
    RANGE,
    Scope,
    increase,
    level,
    per,
    quantile,
    rate,
    series,
    share,
)

_SCOPE: Scope = ('graph=~"$graph"',)
_BAD: Scope = (*_SCOPE, f'code=~"{FAILED}"')
_REVISION = "{{graph}} r{{revision}}"

_NOW = Section(
    "Now",
    (
        GrafanaPanel(
            "Requests",
            "reqps",
            (Query(rate(d.REQUESTS, scope=_SCOPE), "requests"),),
            kind="stat",
            width=4,
        ),
        GrafanaPanel(
            "Failed",
            "percentunit",
            (Query(share(rate(d.REQUESTS, scope=_BAD), rate(d.REQUESTS, scope=_SCOPE)), "failed"),),
            kind="stat",
            width=4,
            note="Share of requests that the engine failed; what callers got wrong is left out.",
            alarm=0.01,
        ),
        GrafanaPanel(
            "99th percentile",
            "s",
            (Query(quantile(0.99, d.REQUEST_DURATION, scope=_SCOPE), "p99"),),
            kind="stat",
            width=4,
        ),
        GrafanaPanel(
            "In flight",
            "short",
            (Query(level(d.REQUESTS_IN_FLIGHT, scope=_SCOPE), "in flight"),),
            kind="stat",
            width=4,
        ),
        GrafanaPanel(
            "Drifting monitors",
            "short",
            (Query(level(d.MONITOR_DRIFT, *d.MONITOR_DRIFT.labels, scope=_SCOPE).summed(), "now"),),
            kind="stat",
            width=4,
            alarm=1,
        ),
        GrafanaPanel(
            "Telemetry dropped",
            "short",
            (Query(increase(d.OUTLET_DROPPED, scope=_SCOPE, window=RANGE), "dropped"),),
            kind="stat",
            width=4,
            note="Over the time shown.",
            alarm=1,
        ),
    ),
)

_REQUESTS = Section(
    "Requests",
    (
        GrafanaPanel(
            "Requests",
            "reqps",
            (Query(rate(d.REQUESTS, "graph", scope=_SCOPE), "{{graph}}"),),
            stacked=True,
        ),
        GrafanaPanel(
            "Failed requests by code",
            "reqps",
            (Query(rate(d.REQUESTS, "graph", "code", scope=_BAD), "{{graph}} {{code}}"),),
            note="What the engine failed; what callers got wrong is left out.",
            stacked=True,
        ),
        GrafanaPanel(
            "Share of failed requests",
            "percentunit",
            (
                Query(
                    share(
                        rate(d.REQUESTS, "graph", scope=_BAD),
                        rate(d.REQUESTS, "graph", scope=_SCOPE),
                    ),
                    "{{graph}}",
                ),
            ),
            alarm=0.01,
        ),
        GrafanaPanel(
            "Median latency",
            "s",
            (Query(quantile(0.5, d.REQUEST_DURATION, "graph", scope=_SCOPE), "{{graph}}"),),
        ),
        GrafanaPanel(
            "99th percentile of latency",
            "s",
            (Query(quantile(0.99, d.REQUEST_DURATION, "graph", scope=_SCOPE), "{{graph}}"),),
        ),
        GrafanaPanel(
            "In flight",
            "short",
            (Query(level(d.REQUESTS_IN_FLIGHT, "graph", scope=_SCOPE), "{{graph}}"),),
            stacked=True,
        ),
    ),
)

_REVISIONS = Section(
    "Revisions",
    (
        GrafanaPanel(
            "Weights",
            "percentunit",
            (Query(level(d.ARM_WEIGHT, "graph", "revision", scope=_SCOPE), _REVISION),),
        ),
        GrafanaPanel(
            "Requests by revision",
            "reqps",
            (Query(rate(d.ARM_REQUESTS, "graph", "revision", scope=_SCOPE), _REVISION),),
            stacked=True,
        ),
        GrafanaPanel(
            "Errors by revision",
            "reqps",
            (Query(rate(d.ARM_ERRORS, "graph", "revision", scope=_SCOPE), _REVISION),),
        ),
        GrafanaPanel(
            "Rollouts",
            "short",
            (
                Query(
                    level(d.ROLLOUT_STATE, "graph", "state", scope=_SCOPE).when("== 1"),
                    "{{graph}} {{state}}",
                ),
            ),
            kind="state-timeline",
        ),
        GrafanaPanel(
            "Verdicts",
            "cps",
            (
                Query(
                    rate(d.ROLLOUT_VERDICTS, "graph", "verdict", scope=_SCOPE),
                    "{{graph}} {{verdict}}",
                ),
            ),
        ),
        GrafanaPanel(
            "Replicas",
            "short",
            (
                Query(
                    level(d.REPLICAS, *d.REPLICAS.labels, scope=_SCOPE).summed("graph", "state"),
                    "{{graph}} {{state}}",
                ),
            ),
            stacked=True,
        ),
    ),
)

_DRIFT = Section(
    "Drift and mirrors",
    (
        GrafanaPanel(
            "Distance from the reference",
            "short",
            (
                Query(
                    level(d.MONITOR_SCORE, *d.MONITOR_SCORE.labels, scope=_SCOPE),
                    f"{_REVISION} {{{{monitor}}}}",
                ),
            ),
            width=12,
            alarm=1,
        ),
        GrafanaPanel(
            "Agreement of mirrors",
            "percentunit",
            (
                Query(
                    per(
                        rate(d.MIRROR_AGREED, "graph", "revision", scope=_SCOPE),
                        rate(d.MIRROR_COMPARED, "graph", "revision", scope=_SCOPE),
                    ),
                    _REVISION,
                ),
            ),
            width=12,
        ),
    ),
)

_OUTLETS = Section(
    "Telemetry",
    (
        GrafanaPanel(
            "Delivered",
            "cps",
            (
                Query(
                    rate(d.OUTLET_SENT, *d.OUTLET_SENT.labels, scope=_SCOPE), "{{graph}} {{outlet}}"
                ),
            ),
        ),
        GrafanaPanel(
            "Dropped",
            "cps",
            (
                Query(
                    rate(d.OUTLET_DROPPED, *d.OUTLET_DROPPED.labels, scope=_SCOPE),
                    "{{graph}} {{outlet}}: {{reason}}",
                ),
            ),
        ),
        GrafanaPanel(
            "Waiting",
            "short",
            (
                Query(
                    level(d.OUTLET_WAITING, *d.OUTLET_WAITING.labels, scope=_SCOPE),
                    "{{graph}} {{outlet}}",
                ),
            ),
        ),
    ),
)

OVERVIEW = Dashboard(
    "overview",
    "anabranch: all graphs",
    "Traffic, errors, latency, rollouts, drift and telemetry of every graph.",
    (Variable("graph", "Graph", series(d.ARM_WEIGHT), "graph", many=True),),
    (_NOW, _REQUESTS, _REVISIONS, _DRIFT, _OUTLETS),
)
