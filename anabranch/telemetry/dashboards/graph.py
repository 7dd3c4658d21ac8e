"""The dashboard of one graph: its revisions, nodes, hops, replicas, and what stands beside them."""

from __future__ import annotations

from anabranch.telemetry import definitions as d
from anabranch.telemetry.dashboards.grafana import Dashboard, GrafanaPanel, Query, Section, Variable
from anabranch.telemetry.dashboards.promql import (
    RATE,
    Scope,
    buckets,
    calls,
    change,
    increase,
    level,
    mean,
    mean_ever,
    per,
    quantile,
    rate,
    series,
    share,
)

_SCOPE: Scope = ('graph="$graph"', 'revision=~"$revision"')
_ARM = ("revision",)
_NODE = ("revision", "node")
_REVISION = "r{{revision}}"
_AT = "{{node}} r{{revision}}"

_REQUESTS = Section(
    "Requests",
    (
        GrafanaPanel(
            "Requests by code",
            "reqps",
            (Query(rate(d.REQUESTS, "code", scope=_SCOPE), "{{code}}"),),
            stacked=True,
        ),
        GrafanaPanel(
            "Requests by endpoint",
            "reqps",
            (
                Query(
                    rate(d.REQUESTS, "endpoint", "protocol", scope=_SCOPE),
                    "{{endpoint}} {{protocol}}",
                ),
            ),
            stacked=True,
        ),
        GrafanaPanel(
            "In flight",
            "short",
            (Query(level(d.REQUESTS_IN_FLIGHT, scope=_SCOPE), "in flight"),),
        ),
        GrafanaPanel(
            "Latency",
            "s",
            tuple(
                Query(quantile(one, d.REQUEST_DURATION, scope=_SCOPE), f"{one:.0%}")
                for one in (0.5, 0.95, 0.99)
            ),
            width=12,
            exemplars=True,
        ),
        GrafanaPanel(
            "Distribution of latency",
            "s",
            (Query(buckets(d.REQUEST_DURATION, _SCOPE), "{{le}}"),),
            kind="heatmap",
            width=12,
            exemplars=True,
        ),
    ),
)

_ARMS = Section(
    "Revisions",
    (
        GrafanaPanel(
            "Weights",
            "percentunit",
            (Query(level(d.ARM_WEIGHT, *_ARM, scope=_SCOPE), _REVISION),),
            width=6,
            stacked=True,
        ),
        GrafanaPanel(
            "Requests",
            "reqps",
            (Query(rate(d.ARM_REQUESTS, *_ARM, scope=_SCOPE), _REVISION),),
            width=6,
            stacked=True,
        ),
        GrafanaPanel(
            "Errors by kind",
            "reqps",
            (Query(rate(d.ARM_ERRORS, *_ARM, "kind", scope=_SCOPE), f"{_REVISION} {{{{kind}}}}"),),
            width=6,
            stacked=True,
        ),
        GrafanaPanel(
            "95th percentile",
            "s",
            (Query(quantile(0.95, d.ARM_LATENCY, *_ARM, scope=_SCOPE), _REVISION),),
            width=6,
            exemplars=True,
        ),
    ),
)

_NODES = Section(
    "Nodes",
    (
        GrafanaPanel(
            "Calls",
            "ops",
            (Query(calls(d.NODE_DURATION, *_NODE, scope=_SCOPE), _AT),),
        ),
        GrafanaPanel(
            "Mean time",
            "s",
            (Query(mean(d.NODE_DURATION, *_NODE, scope=_SCOPE), _AT),),
        ),
        GrafanaPanel(
            "95th percentile",
            "s",
            (Query(quantile(0.95, d.NODE_DURATION, *_NODE, scope=_SCOPE), _AT),),
            exemplars=True,
        ),
        GrafanaPanel(
            "Errors by kind",
            "ops",
            (Query(rate(d.NODE_ERRORS, *_NODE, "kind", scope=_SCOPE), f"{_AT} {{{{kind}}}}"),),
            stacked=True,
        ),
        GrafanaPanel(
            "Recoveries",
            "ops",
            (
                Query(
                    rate(d.NODE_RECOVERIES, *_NODE, "action", scope=_SCOPE),
                    f"{_AT}: {{{{action}}}}",
                ),
            ),
            stacked=True,
        ),
        GrafanaPanel(
            "Under way off the event loop",
            "short",
            (Query(level(d.NODE_IN_FLIGHT, *_NODE, scope=_SCOPE), _AT),),
        ),
    ),
)

_HOPS = Section(
    "Hops, queues and batches",
    (
        GrafanaPanel(
            "Calls into other processes",
            "ops",
            (
                Query(
                    calls(d.HOP_DURATION, *_ARM, "segment", scope=_SCOPE),
                    f"{{{{segment}}}} {_REVISION}",
                ),
            ),
        ),
        GrafanaPanel(
            "95th percentile of a hop",
            "s",
            (
                Query(
                    quantile(0.95, d.HOP_DURATION, *_ARM, "segment", scope=_SCOPE),
                    f"{{{{segment}}}} {_REVISION}",
                ),
            ),
            exemplars=True,
        ),
        GrafanaPanel(
            "95th percentile of the wait for a turn",
            "s",
            (Query(quantile(0.95, d.QUEUE_DURATION, *_NODE, scope=_SCOPE), _AT),),
        ),
        GrafanaPanel(
            "Mean rows of a batch",
            "short",
            (Query(mean(d.BATCH_SIZE, *_NODE, scope=_SCOPE), _AT),),
        ),
        GrafanaPanel(
            "Mean requests in a batch",
            "short",
            (Query(mean(d.BATCH_REQUESTS, *_NODE, scope=_SCOPE), _AT),),
        ),
        GrafanaPanel(
            "Batches",
            "ops",
            (Query(calls(d.BATCH_SIZE, *_NODE, scope=_SCOPE), _AT),),
        ),
    ),
)

_REPLICAS = Section(
    "Replicas",
    (
        GrafanaPanel(
            "Replicas",
            "short",
            (
                Query(
                    level(d.REPLICAS, *_ARM, "segment", "state", scope=_SCOPE),
                    f"{{{{segment}}}} {_REVISION} {{{{state}}}}",
                ),
            ),
        ),
        GrafanaPanel(
            "Mean time to start",
            "s",
            (
                Query(
                    mean_ever(d.REPLICA_START, *_ARM, "segment", scope=_SCOPE),
                    f"{{{{segment}}}} {_REVISION}",
                ),
            ),
        ),
        GrafanaPanel(
            "Cold starts",
            "short",
            (
                Query(
                    increase(d.COLD_STARTS, *_ARM, "segment", scope=_SCOPE, window=RATE),
                    f"{{{{segment}}}} {_REVISION}",
                ),
            ),
        ),
    ),
)

_ROUTES = Section(
    "Routes",
    (
        GrafanaPanel(
            "Requests by route",
            "reqps",
            (
                Query(
                    rate(d.ROUTE_REQUESTS, "router", "route", scope=_SCOPE),
                    "{{router}} → {{route}}",
                ),
            ),
            width=12,
            stacked=True,
        ),
        GrafanaPanel(
            "Mean reward by route",
            "short",
            (
                Query(
                    per(
                        change(d.ROUTE_REWARD_SUM, "router", "route", scope=_SCOPE),
                        increase(d.ROUTE_REWARDS, "router", "route", scope=_SCOPE),
                    ),
                    "{{router}} → {{route}}",
                ),
            ),
            width=12,
            note="Over the time shown.",
            signed=True,
        ),
    ),
    folded=True,
)

_MIRRORS = Section(
    "Mirrors",
    (
        GrafanaPanel(
            "Copies",
            "ops",
            tuple(
                Query(rate(metric, *_ARM, scope=_SCOPE), f"{_REVISION} {name}")
                for metric, name in (
                    (d.MIRROR_SELECTED, "due"),
                    (d.MIRROR_SENT, "sent"),
                    (d.MIRROR_DROPPED, "dropped"),
                    (d.MIRROR_COMPARED, "compared"),
                )
            ),
        ),
        GrafanaPanel(
            "Agreement",
            "percentunit",
            tuple(
                Query(
                    per(
                        rate(metric, *_ARM, scope=_SCOPE),
                        rate(d.MIRROR_COMPARED, *_ARM, scope=_SCOPE),
                    ),
                    f"{_REVISION} {name}",
                )
                for metric, name in ((d.MIRROR_AGREED, "agreed"), (d.MIRROR_CLOSE, "close"))
            ),
        ),
        GrafanaPanel(
            "Errors by kind",
            "ops",
            (
                Query(
                    rate(d.MIRROR_ERRORS, *_ARM, "kind", scope=_SCOPE), f"{_REVISION} {{{{kind}}}}"
                ),
            ),
        ),
        GrafanaPanel(
            "On their way",
            "short",
            (Query(level(d.MIRROR_PENDING, *_ARM, scope=_SCOPE), _REVISION),),
            width=12,
        ),
        GrafanaPanel(
            "Slower than the client's arm by",
            "s",
            (
                Query(
                    level(d.MIRROR_LATENCY_DIFFERENCE, *_ARM, "quantile", scope=_SCOPE),
                    f"{_REVISION} {{{{quantile}}}}",
                ),
            ),
            width=12,
            signed=True,
        ),
    ),
    folded=True,
)

_EXPLANATIONS = Section(
    "Explanations",
    (
        GrafanaPanel(
            "Explanations by outcome",
            "ops",
            (
                Query(
                    rate(d.EXPLANATIONS, *_NODE, "outcome", scope=_SCOPE), f"{_AT} {{{{outcome}}}}"
                ),
            ),
            width=6,
            stacked=True,
        ),
        GrafanaPanel(
            "Mean time",
            "s",
            (
                Query(
                    per(
                        rate(d.EXPLANATION_SECONDS, *_NODE, scope=_SCOPE),
                        rate(
                            d.EXPLANATIONS,
                            *_NODE,
                            scope=(*_SCOPE, 'outcome=~"explained|cached"'),
                        ),
                    ),
                    _AT,
                ),
            ),
            width=6,
        ),
        GrafanaPanel(
            "Samples of the traffic by outcome",
            "ops",
            (
                Query(
                    rate(d.EXPLAINER_SAMPLES, *_NODE, "outcome", scope=_SCOPE),
                    f"{_AT} {{{{outcome}}}}",
                ),
            ),
            width=6,
            stacked=True,
        ),
        GrafanaPanel(
            "Mean attribution of the features",
            "short",
            (
                Query(
                    rate(d.ATTRIBUTION, *_NODE, "feature", scope=_SCOPE).for_each(
                        rate(d.ATTRIBUTION_ROWS, *_NODE, scope=_SCOPE), "feature"
                    ),
                    f"{_AT} {{{{feature}}}}",
                ),
            ),
            width=6,
        ),
    ),
    folded=True,
)

_REWARDS = Section(
    "Rewards",
    (
        GrafanaPanel(
            "Rewards",
            "ops",
            (
                Query(rate(d.ARM_REWARDS, *_ARM, scope=_SCOPE), f"{_REVISION} counted"),
                Query(rate(d.ARM_REWARDS_REPEATED, *_ARM, scope=_SCOPE), f"{_REVISION} repeated"),
            ),
        ),
        GrafanaPanel(
            "Mean reward",
            "short",
            (
                Query(
                    per(
                        change(d.ARM_REWARD_SUM, *_ARM, scope=_SCOPE),
                        increase(d.ARM_REWARDS, *_ARM, scope=_SCOPE),
                    ),
                    _REVISION,
                ),
            ),
            note="Over the time shown.",
            signed=True,
        ),
        GrafanaPanel(
            "Accuracy",
            "percentunit",
            (
                Query(
                    share(
                        rate(d.ARM_RIGHT, *_ARM, scope=_SCOPE),
                        rate(d.ARM_JUDGED, *_ARM, scope=_SCOPE),
                    ),
                    _REVISION,
                ),
            ),
        ),
    ),
    folded=True,
)

_MODELS = Section(
    "Models that share a replica",
    (
        GrafanaPanel(
            "Models asked for",
            "ops",
            (
                Query(rate(d.MULTIPLEX_HITS, *_NODE, scope=_SCOPE), f"{_AT} in memory"),
                Query(rate(d.MULTIPLEX_MISSES, *_NODE, scope=_SCOPE), f"{_AT} loaded"),
                Query(rate(d.MULTIPLEX_FAILURES, *_NODE, scope=_SCOPE), f"{_AT} failed"),
                Query(rate(d.MULTIPLEX_EVICTIONS, *_NODE, scope=_SCOPE), f"{_AT} let go"),
            ),
        ),
        GrafanaPanel(
            "Mean time to load",
            "s",
            (
                Query(
                    per(
                        rate(d.MULTIPLEX_LOAD_SECONDS, *_NODE, scope=_SCOPE),
                        rate(d.MULTIPLEX_MISSES, *_NODE, scope=_SCOPE),
                    ),
                    _AT,
                ),
            ),
        ),
        GrafanaPanel(
            "Models in memory",
            "short",
            (Query(level(d.MULTIPLEX_LOADED, *_NODE, scope=_SCOPE), _AT),),
        ),
    ),
    folded=True,
)

_WATCHED = ("revision", "monitor")
_MONITOR = "{{monitor}} r{{revision}}"
_MONITORS = Section(
    "Monitors",
    (
        GrafanaPanel(
            "Distance from the reference",
            "short",
            (Query(level(d.MONITOR_SCORE, *_WATCHED, scope=_SCOPE), _MONITOR),),
            alarm=1,
        ),
        GrafanaPanel(
            "Distance by feature",
            "short",
            (
                Query(
                    level(d.MONITOR_FEATURE_SCORE, *_WATCHED, "feature", scope=_SCOPE),
                    f"{_MONITOR} {{{{feature}}}}",
                ),
            ),
            alarm=1,
        ),
        GrafanaPanel(
            "Drift",
            "short",
            (Query(level(d.MONITOR_DRIFT, *_WATCHED, scope=_SCOPE), _MONITOR),),
            kind="state-timeline",
        ),
        GrafanaPanel(
            "Rows",
            "cps",
            (
                Query(rate(d.MONITOR_ROWS, *_WATCHED, scope=_SCOPE), f"{_MONITOR} seen"),
                Query(rate(d.MONITOR_OUTLIERS, *_WATCHED, scope=_SCOPE), f"{_MONITOR} outliers"),
            ),
        ),
        GrafanaPanel(
            "Alarms and errors",
            "short",
            (
                Query(increase(d.MONITOR_ALARMS, *_WATCHED, scope=_SCOPE), f"{_MONITOR} alarms"),
                Query(increase(d.MONITOR_ERRORS, *_WATCHED, scope=_SCOPE), f"{_MONITOR} errors"),
            ),
            note="Over the time shown.",
        ),
        GrafanaPanel(
            "Quantiles of sketches",
            "short",
            (
                Query(
                    level(d.MONITOR_QUANTILE, *_WATCHED, "feature", "quantile", scope=_SCOPE),
                    f"{_MONITOR} {{{{feature}}}} {{{{quantile}}}}",
                ),
            ),
        ),
    ),
    folded=True,
)

_OUTLETS = Section(
    "Telemetry",
    (
        GrafanaPanel(
            "Items",
            "cps",
            (
                Query(rate(d.OUTLET_SELECTED, "outlet", scope=_SCOPE), "{{outlet}} selected"),
                Query(rate(d.OUTLET_SENT, "outlet", scope=_SCOPE), "{{outlet}} delivered"),
            ),
        ),
        GrafanaPanel(
            "Dropped",
            "cps",
            (
                Query(
                    rate(d.OUTLET_DROPPED, "outlet", "reason", scope=_SCOPE),
                    "{{outlet}}: {{reason}}",
                ),
            ),
        ),
        GrafanaPanel(
            "Waiting",
            "short",
            (Query(level(d.OUTLET_WAITING, "outlet", scope=_SCOPE), "{{outlet}}"),),
        ),
    ),
    folded=True,
)

GRAPH = Dashboard(
    "graph",
    "anabranch: one graph",
    "Requests, revisions, nodes, hops and replicas of a graph, and what stands beside them.",
    (
        Variable("graph", "Graph", series(d.ARM_WEIGHT), "graph"),
        Variable(
            "revision",
            "Revision",
            series(d.ARM_WEIGHT, ('graph="$graph"',)),
            "revision",
            many=True,
        ),
    ),
    (
        *(_REQUESTS, _ARMS, _NODES, _HOPS, _REPLICAS),
        *(_ROUTES, _MIRRORS, _EXPLANATIONS, _REWARDS, _MODELS, _MONITORS, _OUTLETS),
    ),
)
