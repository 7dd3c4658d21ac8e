"""The dashboard of one graph: its revisions, nodes, hops, replicas, and what stands beside them."""

from __future__ import annotations

from dataclasses import replace

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import SHOWN, Dashboard, Section, Variable
from anabranch.telemetry.dashboards.grafana import GrafanaPanel as Panel
from anabranch.telemetry.dashboards.promql import RATE, Queries, per, share

_GRAPH: tuple[str, ...] = ('graph="$graph"',)
_SCOPE = (*_GRAPH, 'revision=~"$revision"')
_all = Queries(_SCOPE)
_arm, _ARM = Queries(_SCOPE, ("revision",)), "r{revision}"
_node, _NODE = Queries(_SCOPE, ("revision", "node")), "{node} r{revision}"
_hop, _HOP = Queries(_SCOPE, ("revision", "segment")), "{segment} r{revision}"
_route, _ROUTE = Queries(_SCOPE, ("router", "route")), "{router} → {route}"
_monitor, _MONITOR = Queries(_SCOPE, ("revision", "monitor")), "{monitor} r{revision}"
_outlet, _OUTLET = Queries(_SCOPE, ("outlet",)), "{outlet}"
_explained = replace(_node, scope=(*_SCOPE, 'outcome=~"explained|cached"'))

_REQUESTS = Section(
    "Requests",
    Panel("Requests by code", "reqps", {"{code}": _all.rate(d.REQUESTS, "code")}, stacked=True),
    Panel(
        "Requests by endpoint",
        "reqps",
        {"{endpoint} {protocol}": _all.rate(d.REQUESTS, "endpoint", "protocol")},
        stacked=True,
    ),
    Panel("In flight", "short", {"in flight": _all.level(d.REQUESTS_IN_FLIGHT)}),
    Panel(
        "Latency",
        "s",
        {f"{one:.0%}": _all.quantile(one, d.REQUEST_DURATION) for one in (0.5, 0.95, 0.99)},
        exemplars=True,
    ),
    Panel(
        "Distribution of latency",
        "s",
        {"{le}": _all.buckets(d.REQUEST_DURATION)},
        kind="heatmap",
        exemplars=True,
    ),
    widths=(8, 8, 8, 12, 12),
)
_ARMS = Section(
    "Revisions",
    Panel("Weights", "percentunit", {_ARM: _arm.level(d.ARM_WEIGHT)}, stacked=True),
    Panel("Requests", "reqps", {_ARM: _arm.rate(d.ARM_REQUESTS)}, stacked=True),
    Panel(
        "Errors by kind",
        "reqps",
        {f"{_ARM} {{kind}}": _arm.rate(d.ARM_ERRORS, "kind")},
        stacked=True,
    ),
    Panel("95th percentile", "s", {_ARM: _arm.quantile(0.95, d.ARM_LATENCY)}, exemplars=True),
    widths=(6,),
)
_NODES = Section(
    "Nodes",
    Panel("Calls", "ops", {_NODE: _node.calls(d.NODE_DURATION)}),
    Panel("Mean time", "s", {_NODE: _node.mean(d.NODE_DURATION)}),
    Panel("95th percentile", "s", {_NODE: _node.quantile(0.95, d.NODE_DURATION)}, exemplars=True),
    Panel(
        "Errors by kind",
        "ops",
        {f"{_NODE} {{kind}}": _node.rate(d.NODE_ERRORS, "kind")},
        stacked=True,
    ),
    Panel(
        "Recoveries",
        "ops",
        {f"{_NODE}: {{action}}": _node.rate(d.NODE_RECOVERIES, "action")},
        stacked=True,
    ),
    Panel("Under way off the event loop", "short", {_NODE: _node.level(d.NODE_IN_FLIGHT)}),
)
_HOPS = Section(
    "Hops, queues and batches",
    Panel("Calls into other processes", "ops", {_HOP: _hop.calls(d.HOP_DURATION)}),
    Panel(
        "95th percentile of a hop", "s", {_HOP: _hop.quantile(0.95, d.HOP_DURATION)}, exemplars=True
    ),
    Panel(
        "95th percentile of the wait for a turn",
        "s",
        {_NODE: _node.quantile(0.95, d.QUEUE_DURATION)},
    ),
    Panel("Mean rows of a batch", "short", {_NODE: _node.mean(d.BATCH_SIZE)}),
    Panel("Mean requests in a batch", "short", {_NODE: _node.mean(d.BATCH_REQUESTS)}),
    Panel("Batches", "ops", {_NODE: _node.calls(d.BATCH_SIZE)}),
)
_REPLICAS = Section(
    "Replicas",
    Panel("Replicas", "short", {f"{_HOP} {{state}}": _hop.level(d.REPLICAS, "state")}),
    Panel("Mean time to start", "s", {_HOP: _hop.mean_ever(d.REPLICA_START)}),
    Panel("Cold starts", "short", {_HOP: replace(_hop, window=RATE).increase(d.COLD_STARTS)}),
)
_ROUTES = Section(
    "Routes",
    Panel("Requests by route", "reqps", {_ROUTE: _route.rate(d.ROUTE_REQUESTS)}, stacked=True),
    Panel(
        "Mean reward by route",
        "short",
        {_ROUTE: per(_route.change(d.ROUTE_REWARD_SUM), _route.increase(d.ROUTE_REWARDS))},
        note=SHOWN,
        signed=True,
    ),
    widths=(12,),
    folded=True,
)
_MIRRORS = Section(
    "Mirrors",
    Panel(
        "Copies",
        "ops",
        {
            f"{_ARM} due": _arm.rate(d.MIRROR_SELECTED),
            f"{_ARM} sent": _arm.rate(d.MIRROR_SENT),
            f"{_ARM} dropped": _arm.rate(d.MIRROR_DROPPED),
            f"{_ARM} compared": _arm.rate(d.MIRROR_COMPARED),
        },
    ),
    Panel(
        "Agreement",
        "percentunit",
        {
            f"{_ARM} agreed": per(_arm.rate(d.MIRROR_AGREED), _arm.rate(d.MIRROR_COMPARED)),
            f"{_ARM} close": per(_arm.rate(d.MIRROR_CLOSE), _arm.rate(d.MIRROR_COMPARED)),
        },
    ),
    Panel("Errors by kind", "ops", {f"{_ARM} {{kind}}": _arm.rate(d.MIRROR_ERRORS, "kind")}),
    Panel("On their way", "short", {_ARM: _arm.level(d.MIRROR_PENDING)}),
    Panel(
        "Slower than the client's arm by",
        "s",
        {f"{_ARM} {{quantile}}": _arm.level(d.MIRROR_LATENCY_DIFFERENCE, "quantile")},
        signed=True,
    ),
    widths=(8, 8, 8, 12, 12),
    folded=True,
)
_EXPLANATIONS = Section(
    "Explanations",
    Panel(
        "Explanations by outcome",
        "ops",
        {f"{_NODE} {{outcome}}": _node.rate(d.EXPLANATIONS, "outcome")},
        stacked=True,
    ),
    Panel(
        "Mean time",
        "s",
        {_NODE: per(_node.rate(d.EXPLANATION_SECONDS), _explained.rate(d.EXPLANATIONS))},
    ),
    Panel(
        "Samples of the traffic by outcome",
        "ops",
        {f"{_NODE} {{outcome}}": _node.rate(d.EXPLAINER_SAMPLES, "outcome")},
        stacked=True,
    ),
    Panel(
        "Mean attribution of the features",
        "short",
        {
            f"{_NODE} {{feature}}": _node.rate(d.ATTRIBUTION, "feature").for_each(
                _node.rate(d.ATTRIBUTION_ROWS), "feature"
            )
        },
    ),
    widths=(6,),
    folded=True,
)
_REWARDS = Section(
    "Rewards",
    Panel(
        "Rewards",
        "ops",
        {
            f"{_ARM} counted": _arm.rate(d.ARM_REWARDS),
            f"{_ARM} repeated": _arm.rate(d.ARM_REWARDS_REPEATED),
        },
    ),
    Panel(
        "Mean reward",
        "short",
        {_ARM: per(_arm.change(d.ARM_REWARD_SUM), _arm.increase(d.ARM_REWARDS))},
        note=SHOWN,
        signed=True,
    ),
    Panel(
        "Accuracy", "percentunit", {_ARM: share(_arm.rate(d.ARM_RIGHT), _arm.rate(d.ARM_JUDGED))}
    ),
    folded=True,
)
_MODELS = Section(
    "Models that share a replica",
    Panel(
        "Models asked for",
        "ops",
        {
            f"{_NODE} in memory": _node.rate(d.MULTIPLEX_HITS),
            f"{_NODE} loaded": _node.rate(d.MULTIPLEX_MISSES),
            f"{_NODE} failed": _node.rate(d.MULTIPLEX_FAILURES),
            f"{_NODE} let go": _node.rate(d.MULTIPLEX_EVICTIONS),
        },
    ),
    Panel(
        "Mean time to load",
        "s",
        {_NODE: per(_node.rate(d.MULTIPLEX_LOAD_SECONDS), _node.rate(d.MULTIPLEX_MISSES))},
    ),
    Panel("Models in memory", "short", {_NODE: _node.level(d.MULTIPLEX_LOADED)}),
    folded=True,
)
_MONITORS = Section(
    "Monitors",
    Panel(
        "Distance from the reference", "short", {_MONITOR: _monitor.level(d.MONITOR_SCORE)}, alarm=1
    ),
    Panel(
        "Distance by feature",
        "short",
        {f"{_MONITOR} {{feature}}": _monitor.level(d.MONITOR_FEATURE_SCORE, "feature")},
        alarm=1,
    ),
    Panel("Drift", "short", {_MONITOR: _monitor.level(d.MONITOR_DRIFT)}, kind="state-timeline"),
    Panel(
        "Rows",
        "cps",
        {
            f"{_MONITOR} seen": _monitor.rate(d.MONITOR_ROWS),
            f"{_MONITOR} outliers": _monitor.rate(d.MONITOR_OUTLIERS),
        },
    ),
    Panel(
        "Alarms and errors",
        "short",
        {
            f"{_MONITOR} alarms": _monitor.increase(d.MONITOR_ALARMS),
            f"{_MONITOR} errors": _monitor.increase(d.MONITOR_ERRORS),
        },
        note=SHOWN,
    ),
    Panel(
        "Quantiles of sketches",
        "short",
        {
            f"{_MONITOR} {{feature}} {{quantile}}": _monitor.level(
                d.MONITOR_QUANTILE, "feature", "quantile"
            )
        },
    ),
    folded=True,
)
_OUTLETS = Section(
    "Telemetry",
    Panel(
        "Items",
        "cps",
        {
            f"{_OUTLET} selected": _outlet.rate(d.OUTLET_SELECTED),
            f"{_OUTLET} delivered": _outlet.rate(d.OUTLET_SENT),
        },
    ),
    Panel("Dropped", "cps", {f"{_OUTLET}: {{reason}}": _outlet.rate(d.OUTLET_DROPPED, "reason")}),
    Panel("Waiting", "short", {_OUTLET: _outlet.level(d.OUTLET_WAITING)}),
    folded=True,
)

_ARMS_OF_THE_GRAPH = Queries(_GRAPH).series(d.ARM_WEIGHT)
GRAPH = Dashboard(
    "graph",
    "anabranch: one graph",
    "Requests, revisions, nodes, hops and replicas of a graph, and what stands beside them.",
    (
        Variable("graph", "Graph", Queries().series(d.ARM_WEIGHT), "graph"),
        Variable("revision", "Revision", _ARMS_OF_THE_GRAPH, "revision", many=True),
    ),
    (
        *(_REQUESTS, _ARMS, _NODES, _HOPS, _REPLICAS),
        *(_ROUTES, _MIRRORS, _EXPLANATIONS, _REWARDS, _MODELS, _MONITORS, _OUTLETS),
    ),
)
