"""The dashboard of all graphs: what is asked, how it goes, and what has changed."""

from __future__ import annotations

from functools import partial

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import SHOWN, Dashboard, Section, Variable
from anabranch.telemetry.dashboards.grafana import GrafanaPanel as Panel
from anabranch.telemetry.dashboards.promql import FAILED, Queries, per, share

_SCOPE = ('graph=~"$graph"',)
_BAD = (*_SCOPE, f'code=~"{FAILED}"')
_all, _bad = Queries(_SCOPE), Queries(_BAD)
_graph, _graph_bad, _GRAPH = Queries(_SCOPE, ("graph",)), Queries(_BAD, ("graph",)), "{graph}"
_arm, _ARM = Queries(_SCOPE, ("graph", "revision")), "{graph} r{revision}"
_Stat = partial(Panel, kind="stat")

_NOW = Section(
    "Now",
    _Stat("Requests", "reqps", {"requests": _all.rate(d.REQUESTS)}),
    _Stat(
        "Failed",
        "percentunit",
        {"failed": share(_bad.rate(d.REQUESTS), _all.rate(d.REQUESTS))},
        note="Share of requests that the engine failed; what callers got wrong is left out.",
        alarm=0.01,
    ),
    _Stat("99th percentile", "s", {"p99": _all.quantile(0.99, d.REQUEST_DURATION)}),
    _Stat("In flight", "short", {"in flight": _all.level(d.REQUESTS_IN_FLIGHT)}),
    _Stat(
        "Drifting monitors",
        "short",
        {"now": _all.level(d.MONITOR_DRIFT, *d.MONITOR_DRIFT.labels).summed()},
        alarm=1,
    ),
    _Stat(
        "Telemetry dropped",
        "short",
        {"dropped": _all.increase(d.OUTLET_DROPPED)},
        note=SHOWN,
        alarm=1,
    ),
    widths=(4,),
)
_REQUESTS = Section(
    "Requests",
    Panel("Requests", "reqps", {_GRAPH: _graph.rate(d.REQUESTS)}, stacked=True),
    Panel(
        "Failed requests by code",
        "reqps",
        {"{graph} {code}": _graph_bad.rate(d.REQUESTS, "code")},
        note="What the engine failed; what callers got wrong is left out.",
        stacked=True,
    ),
    Panel(
        "Share of failed requests",
        "percentunit",
        {_GRAPH: share(_graph_bad.rate(d.REQUESTS), _graph.rate(d.REQUESTS))},
        alarm=0.01,
    ),
    Panel("Median latency", "s", {_GRAPH: _graph.quantile(0.5, d.REQUEST_DURATION)}),
    Panel("99th percentile of latency", "s", {_GRAPH: _graph.quantile(0.99, d.REQUEST_DURATION)}),
    Panel("In flight", "short", {_GRAPH: _graph.level(d.REQUESTS_IN_FLIGHT)}, stacked=True),
)
_REVISIONS = Section(
    "Revisions",
    Panel("Weights", "percentunit", {_ARM: _arm.level(d.ARM_WEIGHT)}),
    Panel("Requests by revision", "reqps", {_ARM: _arm.rate(d.ARM_REQUESTS)}, stacked=True),
    Panel("Errors by revision", "reqps", {_ARM: _arm.rate(d.ARM_ERRORS)}),
    Panel(
        "Rollouts",
        "short",
        {"{graph} {state}": _graph.level(d.ROLLOUT_STATE, "state").when("== 1")},
        kind="state-timeline",
    ),
    Panel("Verdicts", "cps", {"{graph} {verdict}": _graph.rate(d.ROLLOUT_VERDICTS, "verdict")}),
    Panel(
        "Replicas",
        "short",
        {"{graph} {state}": _all.level(d.REPLICAS, *d.REPLICAS.labels).summed("graph", "state")},
        stacked=True,
    ),
)
_DRIFT = Section(
    "Drift and mirrors",
    Panel(
        "Distance from the reference",
        "short",
        {f"{_ARM} {{monitor}}": _all.level(d.MONITOR_SCORE, *d.MONITOR_SCORE.labels)},
        alarm=1,
    ),
    Panel(
        "Agreement of mirrors",
        "percentunit",
        {_ARM: per(_arm.rate(d.MIRROR_AGREED), _arm.rate(d.MIRROR_COMPARED))},
    ),
    widths=(12,),
)
_OUTLETS = Section(
    "Telemetry",
    Panel(
        "Delivered", "cps", {"{graph} {outlet}": _all.rate(d.OUTLET_SENT, *d.OUTLET_SENT.labels)}
    ),
    Panel(
        "Dropped",
        "cps",
        {"{graph} {outlet}: {reason}": _all.rate(d.OUTLET_DROPPED, *d.OUTLET_DROPPED.labels)},
    ),
    Panel(
        "Waiting",
        "short",
        {"{graph} {outlet}": _all.level(d.OUTLET_WAITING, *d.OUTLET_WAITING.labels)},
    ),
)

OVERVIEW = Dashboard(
    "overview",
    "anabranch: all graphs",
    "Traffic, errors, latency, rollouts, drift and telemetry of every graph.",
    (Variable("graph", "Graph", Queries().series(d.ARM_WEIGHT), "graph", many=True),),
    (_NOW, _REQUESTS, _REVISIONS, _DRIFT, _OUTLETS),
)
