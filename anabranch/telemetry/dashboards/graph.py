"""The dashboard of one graph: its revisions, nodes, hops, replicas, and what stands beside them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import SHOWN, Dashboard, Section, Variable
from anabranch.telemetry.dashboards.grafana import GrafanaPanel as Panel
from anabranch.telemetry.dashboards.promql import RATE, Queries, per, share

_GRAPH: tuple[str, ...] = ('graph="$graph"',)
_SCOPE = (*_GRAPH, 'revision=~"$revision"')
_all = Queries(_SCOPE)
_arm = Queries(_SCOPE, ("revision",), "r{revision}")
_node = Queries(_SCOPE, ("revision", "node"), "{node} r{revision}")
_hop = Queries(_SCOPE, ("revision", "segment"), "{segment} r{revision}")
_route = Queries(_SCOPE, ("router", "route"), "{router} → {route}")
_monitor = Queries(_SCOPE, ("revision", "monitor"), "{monitor} r{revision}")
_outlet = Queries(_SCOPE, ("outlet",), "{outlet}")
_answered = replace(_node, scope=(*_SCOPE, 'outcome=~"explained|cached"'))

_QUANTILES = (0.5, 0.95, 0.99)
_Stacked = partial(Panel, stacked=True)

_REQUESTS = Section(
    "Requests",
    _Stacked("Requests by code", "reqps", _all.rate(d.REQUESTS, "code")),
    _Stacked("Requests by endpoint", "reqps", _all.rate(d.REQUESTS, "endpoint", "protocol")),
    Panel("In flight", "short", _all.level(d.REQUESTS_IN_FLIGHT).called("in flight")),
    Panel(
        "Latency",
        "s",
        tuple(_all.quantile(one, d.REQUEST_DURATION).called(f"{one:.0%}") for one in _QUANTILES),
        exemplars=True,
    ),
    Panel(
        "Distribution of latency",
        "s",
        _all.buckets(d.REQUEST_DURATION),
        kind="heatmap",
        exemplars=True,
    ),
    widths=(8, 8, 8, 12, 12),
)
_ARMS = Section(
    "Revisions",
    _Stacked("Weights", "percentunit", _arm.level(d.ARM_WEIGHT)),
    _Stacked("Requests", "reqps", _arm.rate(d.ARM_REQUESTS)),
    _Stacked("Errors by kind", "reqps", _arm.rate(d.ARM_ERRORS, "kind")),
    Panel("95th percentile", "s", _arm.quantile(0.95, d.ARM_LATENCY), exemplars=True),
    widths=(6,),
)
_TOKENS = Section(
    "Tokens",
    Panel("95th percentile to the first token", "s", _arm.quantile(0.95, d.ARM_FIRST_TOKEN)),
    Panel("Median of each further token", "s", _arm.quantile(0.5, d.ARM_FURTHER_TOKEN)),
    _Stacked("Tokens", "cps", _arm.rate(d.ARM_TOKENS, "kind")),
    Panel(
        "Tokens per second of an answer",
        "cps",
        _arm.rate(d.ARM_TOKENS, "kind").for_each(_arm.rate(d.ARM_GENERATION_SECONDS), "kind"),
    ),
    widths=(6,),
    folded=True,
)
_NODES = Section(
    "Nodes",
    Panel("Calls", "ops", _node.calls(d.NODE_DURATION)),
    Panel("Mean time", "s", _node.mean(d.NODE_DURATION)),
    Panel("95th percentile", "s", _node.quantile(0.95, d.NODE_DURATION), exemplars=True),
    _Stacked("Errors by kind", "ops", _node.rate(d.NODE_ERRORS, "kind")),
    _Stacked(
        "Recoveries",
        "ops",
        _node.rate(d.NODE_RECOVERIES, "action").called("{node} r{revision}: {action}"),
    ),
    Panel("Under way off the event loop", "short", _node.level(d.NODE_IN_FLIGHT)),
)
_HOPS = Section(
    "Hops, queues and batches",
    Panel("Calls into other processes", "ops", _hop.calls(d.HOP_DURATION)),
    Panel("95th percentile of a hop", "s", _hop.quantile(0.95, d.HOP_DURATION), exemplars=True),
    Panel("95th percentile of the wait for a turn", "s", _node.quantile(0.95, d.QUEUE_DURATION)),
    Panel("Mean rows of a batch", "short", _node.mean(d.BATCH_SIZE)),
    Panel("Mean requests in a batch", "short", _node.mean(d.BATCH_REQUESTS)),
    Panel("Batches", "ops", _node.calls(d.BATCH_SIZE)),
)
_user = Queries(_SCOPE, ("revision", "user"), "{user} r{revision}")
_USERS = Section(
    "Graphs that use this shared model",
    Panel("Calls", "ops", _user.rate(d.MODEL_REQUESTS)),
    _Stacked("Errors by kind", "ops", _user.rate(d.MODEL_ERRORS, "kind")),
    Panel("95th percentile", "s", _user.quantile(0.95, d.MODEL_DURATION)),
    folded=True,
)
_REPLICAS = Section(
    "Replicas",
    Panel("Replicas", "short", _hop.level(d.REPLICAS, "state")),
    Panel("Mean time to start", "s", _hop.mean_ever(d.REPLICA_START)),
    Panel("Memory of its budget", "percentunit", _hop.level(d.REPLICA_MEMORY)),
    Panel("Cold starts", "short", replace(_hop, window=RATE).increase(d.COLD_STARTS)),
    Panel(
        "Replicas by machine",
        "short",
        _all.level(d.MACHINE_REPLICAS, "machine", "deployment").called("{machine}: {deployment}"),
    ),
    widths=(8, 8, 8, 12, 12),
)
_custom = Queries(_SCOPE, ("revision", "node", "name"), "{node}: {name} r{revision}")
_MEASURES = Section(
    "Measures of components",
    Panel("Counters", "ops", _custom.rate(d.CUSTOM_COUNTER)),
    Panel("Gauges", "short", _custom.level(d.CUSTOM_GAUGE), signed=True),
    Panel("95th percentile of timers", "s", _custom.quantile(0.95, d.CUSTOM_DURATION)),
    folded=True,
)
_ROUTES = Section(
    "Routes",
    _Stacked("Requests by route", "reqps", _route.rate(d.ROUTE_REQUESTS)),
    Panel(
        "Mean reward by route",
        "short",
        per(_route.change(d.ROUTE_REWARD_SUM), _route.increase(d.ROUTE_REWARDS)),
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
        _arm.rates(
            due=d.MIRROR_SELECTED,
            sent=d.MIRROR_SENT,
            dropped=d.MIRROR_DROPPED,
            compared=d.MIRROR_COMPARED,
        ),
    ),
    Panel(
        "Agreement",
        "percentunit",
        (
            per(_arm.rate(d.MIRROR_AGREED), _arm.rate(d.MIRROR_COMPARED)).part("agreed"),
            per(_arm.rate(d.MIRROR_CLOSE), _arm.rate(d.MIRROR_COMPARED)).part("close"),
        ),
    ),
    Panel("Errors by kind", "ops", _arm.rate(d.MIRROR_ERRORS, "kind")),
    Panel("On their way", "short", _arm.level(d.MIRROR_PENDING)),
    Panel(
        "Slower than the client's arm by",
        "s",
        _arm.level(d.MIRROR_LATENCY_DIFFERENCE, "quantile"),
        signed=True,
    ),
    widths=(8, 8, 8, 12, 12),
    folded=True,
)
_EXPLANATIONS = Section(
    "Explanations",
    _Stacked("Explanations by outcome", "ops", _node.rate(d.EXPLANATIONS, "outcome")),
    Panel("Mean time", "s", per(_node.rate(d.EXPLANATION_SECONDS), _answered.rate(d.EXPLANATIONS))),
    _Stacked(
        "Samples of the traffic by outcome", "ops", _node.rate(d.EXPLAINER_SAMPLES, "outcome")
    ),
    Panel(
        "Mean attribution of the features",
        "short",
        _node.rate(d.ATTRIBUTION, "feature").for_each(_node.rate(d.ATTRIBUTION_ROWS), "feature"),
    ),
    widths=(6,),
    folded=True,
)
_REWARDS = Section(
    "Rewards",
    Panel("Rewards", "ops", _arm.rates(counted=d.ARM_REWARDS, repeated=d.ARM_REWARDS_REPEATED)),
    Panel(
        "Mean reward",
        "short",
        per(_arm.change(d.ARM_REWARD_SUM), _arm.increase(d.ARM_REWARDS)),
        note=SHOWN,
        signed=True,
    ),
    Panel("Accuracy", "percentunit", share(_arm.rate(d.ARM_RIGHT), _arm.rate(d.ARM_JUDGED))),
    folded=True,
)
_MODELS = Section(
    "Models that share a replica",
    Panel(
        "Models asked for",
        "ops",
        _node.rates(
            in_memory=d.MULTIPLEX_HITS,
            loaded=d.MULTIPLEX_MISSES,
            failed=d.MULTIPLEX_FAILURES,
            let_go=d.MULTIPLEX_EVICTIONS,
        ),
    ),
    Panel(
        "Mean time to load",
        "s",
        per(_node.rate(d.MULTIPLEX_LOAD_SECONDS), _node.rate(d.MULTIPLEX_MISSES)),
    ),
    Panel("Models in memory", "short", _node.level(d.MULTIPLEX_LOADED)),
    folded=True,
)
_LOOKUPS = Section(
    "Lookups of features",
    _Stacked("Rows by outcome", "ops", _node.rate(d.LOOKUP_ROWS, "outcome")),
    _Stacked("Calls of the store by outcome", "ops", _node.rate(d.LOOKUP_CALLS, "outcome")),
    Panel("95th percentile of a call", "s", _node.quantile(0.95, d.LOOKUP_DURATION)),
    Panel("Median age of the rows", "s", _node.quantile(0.5, d.LOOKUP_AGE)),
    widths=(6,),
    folded=True,
)
_CACHES = Section(
    "Caches",
    _Stacked("Questions by outcome", "ops", _node.rate(d.CACHE_REQUESTS, "outcome")),
    Panel("Bytes on a machine", "bytes", _node.level(d.CACHE_BYTES)),
    Panel(
        "Evictions and errors",
        "ops",
        _node.rates(evictions=d.CACHE_EVICTIONS, errors=d.CACHE_ERRORS),
    ),
    folded=True,
)
_MONITORS = Section(
    "Monitors",
    Panel("Distance from the reference", "short", _monitor.level(d.MONITOR_SCORE), alarm=1),
    Panel(
        "Distance by feature", "short", _monitor.level(d.MONITOR_FEATURE_SCORE, "feature"), alarm=1
    ),
    Panel("Drift", "short", _monitor.level(d.MONITOR_DRIFT), kind="state-timeline"),
    Panel("Rows", "cps", _monitor.rates(seen=d.MONITOR_ROWS, outliers=d.MONITOR_OUTLIERS)),
    Panel(
        "Alarms and errors",
        "short",
        (
            _monitor.increase(d.MONITOR_ALARMS).part("alarms"),
            _monitor.increase(d.MONITOR_ERRORS).part("errors"),
        ),
        note=SHOWN,
    ),
    Panel(
        "Quantiles of sketches", "short", _monitor.level(d.MONITOR_QUANTILE, "feature", "quantile")
    ),
    folded=True,
)
_OUTLETS = Section(
    "Telemetry",
    Panel("Items", "cps", _outlet.rates(selected=d.OUTLET_SELECTED, delivered=d.OUTLET_SENT)),
    Panel("Dropped", "cps", _outlet.rate(d.OUTLET_DROPPED, "reason").called("{outlet}: {reason}")),
    Panel("Waiting", "short", _outlet.level(d.OUTLET_WAITING)),
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
        *(_REQUESTS, _ARMS, _NODES, _HOPS, _USERS, _REPLICAS, _TOKENS),
        *(
            _MEASURES,
            _ROUTES,
            _MIRRORS,
            _EXPLANATIONS,
            _REWARDS,
            _MODELS,
            _LOOKUPS,
            _CACHES,
            _MONITORS,
            _OUTLETS,
        ),
    ),
)
