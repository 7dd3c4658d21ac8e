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
_graph, _graph_bad = (Queries(scope, ("graph",), "{graph}") for scope in (_SCOPE, _BAD))
_arm = Queries(_SCOPE, ("graph", "revision"), "{graph} r{revision}")
_MONITOR, _OUTLET = "{graph} r{revision} {monitor}", "{graph} {outlet}"
_Stacked = partial(Panel, stacked=True)
_Stat = partial(Panel, kind="stat")

_NOW = Section(
    "Now",
    _Stat("Requests", "reqps", _all.rate(d.REQUESTS).called("requests")),
    _Stat(
        "Failed",
        "percentunit",
        share(_bad.rate(d.REQUESTS), _all.rate(d.REQUESTS)).called("failed"),
        note="Share of requests that the engine failed; what callers got wrong is left out.",
        alarm=0.01,
    ),
    _Stat("99th percentile", "s", _all.quantile(0.99, d.REQUEST_DURATION).called("p99")),
    _Stat("In flight", "short", _all.level(d.REQUESTS_IN_FLIGHT).called("in flight")),
    _Stat(
        "Drifting monitors",
        "short",
        _all.level(d.MONITOR_DRIFT, *d.MONITOR_DRIFT.labels).summed().called("now"),
        alarm=1,
    ),
    _Stat(
        "Telemetry dropped",
        "short",
        _all.increase(d.OUTLET_DROPPED).called("dropped"),
        note=SHOWN,
        alarm=1,
    ),
    widths=(4,),
)
_REQUESTS = Section(
    "Requests",
    _Stacked("Requests", "reqps", _graph.rate(d.REQUESTS)),
    _Stacked(
        "Failed requests by code",
        "reqps",
        _graph_bad.rate(d.REQUESTS, "code"),
        note="What the engine failed; what callers got wrong is left out.",
    ),
    Panel(
        "Share of failed requests",
        "percentunit",
        share(_graph_bad.rate(d.REQUESTS), _graph.rate(d.REQUESTS)),
        alarm=0.01,
    ),
    Panel("Median latency", "s", _graph.quantile(0.5, d.REQUEST_DURATION)),
    Panel("99th percentile of latency", "s", _graph.quantile(0.99, d.REQUEST_DURATION)),
    _Stacked("In flight", "short", _graph.level(d.REQUESTS_IN_FLIGHT)),
)
_REVISIONS = Section(
    "Revisions",
    Panel("Weights", "percentunit", _arm.level(d.ARM_WEIGHT)),
    _Stacked("Requests by revision", "reqps", _arm.rate(d.ARM_REQUESTS)),
    Panel("Errors by revision", "reqps", _arm.rate(d.ARM_ERRORS)),
    Panel(
        "Rollouts",
        "short",
        _graph.level(d.ROLLOUT_STATE, "state").when("== 1"),
        kind="state-timeline",
    ),
    Panel("Verdicts", "cps", _graph.rate(d.ROLLOUT_VERDICTS, "verdict")),
    _Stacked(
        "Replicas", "short", _all.level(d.REPLICAS, *d.REPLICAS.labels).summed("graph", "state")
    ),
)
_DRIFT = Section(
    "Drift and mirrors",
    Panel(
        "Distance from the reference",
        "short",
        _all.level(d.MONITOR_SCORE, *d.MONITOR_SCORE.labels).called(_MONITOR),
        alarm=1,
    ),
    Panel(
        "Agreement of mirrors",
        "percentunit",
        per(_arm.rate(d.MIRROR_AGREED), _arm.rate(d.MIRROR_COMPARED)),
    ),
    widths=(12,),
)
_WATCHES = Section(
    "Watched models",
    Panel("Revisions made", "short", _graph.increase(d.WATCH_MOVES), note=SHOWN),
    Panel(
        "Age of the last look",
        "s",
        _all.level(d.WATCH_AGE, *d.WATCH_AGE.labels).called("{graph} {model}"),
    ),
    Panel(
        "Time without following",
        "s",
        _all.level(d.WATCH_TROUBLE, *d.WATCH_TROUBLE.labels).called("{graph} {model}"),
    ),
    widths=(8,),
    folded=True,
)
_JOBS = Section(
    "Batch jobs",
    Panel("Rows", "cps", _all.rate(d.JOB_ROWS, *d.JOB_ROWS.labels).called("{graph} {outcome}")),
    widths=(24,),
    folded=True,
)
_ASYNC = Section(
    "Asynchronous requests",
    Panel(
        "Not over",
        "short",
        _all.level(d.ASYNC_OPEN, *d.ASYNC_OPEN.labels).called("{graph} {state}"),
    ),
    Panel(
        "Over", "cps", _all.rate(d.ASYNC_ENDED, *d.ASYNC_ENDED.labels).called("{graph} {outcome}")
    ),
    Panel(
        "Calls of webhooks",
        "cps",
        _all.rate(d.WEBHOOK_CALLS, *d.WEBHOOK_CALLS.labels).called("{graph} {outcome}"),
    ),
    widths=(8,),
    folded=True,
)
_OUTLETS = Section(
    "Telemetry",
    Panel("Delivered", "cps", _all.rate(d.OUTLET_SENT, *d.OUTLET_SENT.labels).called(_OUTLET)),
    Panel(
        "Dropped",
        "cps",
        _all.rate(d.OUTLET_DROPPED, *d.OUTLET_DROPPED.labels).called("{graph} {outlet}: {reason}"),
    ),
    Panel(
        "Waiting", "short", _all.level(d.OUTLET_WAITING, *d.OUTLET_WAITING.labels).called(_OUTLET)
    ),
)

_ACCESS = Section(
    "Access and machines",
    _Stacked(
        "Refused attempts",
        "cps",
        Queries().rate(d.ACCESS_REFUSED, *d.ACCESS_REFUSED.labels).called("{door}: {reason}"),
        note="Of all graphs, and of the control API.",
    ),
    Panel("Bundles sent to machines", "Bps", Queries().rate(d.BUNDLE_BYTES_SENT).called("bundles")),
    widths=(12,),
)

OVERVIEW = Dashboard(
    "overview",
    "anabranch: all graphs",
    "Traffic, errors, latency, rollouts, drift and telemetry of every graph.",
    (Variable("graph", "Graph", Queries().series(d.ARM_WEIGHT), "graph", many=True),),
    (_NOW, _REQUESTS, _REVISIONS, _DRIFT, _WATCHES, _JOBS, _ASYNC, _OUTLETS, _ACCESS),
)
