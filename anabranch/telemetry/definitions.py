"""Every metric of the engine, as data: registries, exporters, dashboards and docs go by this list.

Names and units follow the conventions of Prometheus: seconds, bytes and ratios from 0 to 1; a
counter ends in ``_total``. Labels are bounded: what a client can make up is never a label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Across: TypeAlias = Literal["sum", "max"]

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf),
)
"""Upper bounds of the buckets of durations, in seconds."""
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, math.inf)
"""Upper bounds of the buckets of sizes."""


@dataclass(frozen=True)
class MetricDefinition:
    """One metric. ``bounds`` are the upper bounds of a histogram's buckets, the last infinite."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    across: Across = "sum"
    """How the values of a gauge in several processes make one."""
    is_sum: bool = False
    """Whether it is a gauge only because it may shrink: a sum, which outlives its process."""

    @property
    def lasts(self) -> bool:
        """Whether what a process has counted is kept when it has ended."""
        return self.is_sum or self.kind != "gauge"


def bound_label(bound: float) -> str:
    """The value of the label ``le`` for the upper bound of a bucket."""
    return "+Inf" if bound == math.inf else str(bound)


METRICS: dict[str, MetricDefinition] = {}
"""Every metric by its name, in the order of the docs."""


def _define(metric: MetricDefinition) -> MetricDefinition:
    METRICS[metric.name] = metric
    return metric


def _counter(name: str, text: str, *labels: str) -> MetricDefinition:
    return _define(MetricDefinition(f"anabranch_{name}_total", "counter", text, labels))


def _gauge(name: str, text: str, *labels: str, across: Across = "sum") -> MetricDefinition:
    return _define(MetricDefinition(f"anabranch_{name}", "gauge", text, labels, across=across))


def _sum(name: str, text: str, *labels: str) -> MetricDefinition:
    return _define(MetricDefinition(f"anabranch_{name}", "gauge", text, labels, is_sum=True))


def _histogram(
    name: str, text: str, *labels: str, bounds: tuple[float, ...] = SECONDS
) -> MetricDefinition:
    return _define(MetricDefinition(f"anabranch_{name}", "histogram", text, labels, bounds))


_ARM = ("graph", "revision")
_NODE = ("graph", "revision", "node")

# Requests as clients see them.
REQUESTS = _counter(
    "requests",
    "Requests that a router answered, by endpoint (infer, explain, generate, generate_stream, "
    "feedback, other), protocol (http, grpc) and status: the number of HTTP, the name of gRPC. "
    "Status 499 or CANCELLED: the client hung up before.",
    *("graph", "endpoint", "protocol", "code"),
)
REQUEST_DURATION = _histogram(
    "request_duration_seconds",
    "Time from a request's head to its reply in the router.",
    *("graph", "endpoint", "protocol"),
)
REQUESTS_IN_FLIGHT = _gauge("requests_in_flight", "Requests that are in a router now.", "graph")

# Arms: revisions that take part in the traffic.
ARM_WEIGHT = _gauge(
    "arm_weight",
    "The arm's share of the requests that go by weight, 0 to 1.",
    *_ARM,
    across="max",
)
ARM_REQUESTS = _counter(
    "arm_requests",
    "Requests that the arm evaluated; those that the caller got wrong are left out.",
    *_ARM,
)
ARM_ERRORS = _counter(
    "arm_errors", "Requests of these that failed, by class of error, such as NodeError.",
    *_ARM, "kind",
)  # fmt: skip
ARM_LATENCY = _histogram(
    "arm_latency_seconds", "Time to evaluate a request, without the hop to the arm.", *_ARM
)
ARM_REWARDS = _counter("arm_rewards", "Rewards that counted for the arm's answers.", *_ARM)
ARM_REWARD_SUM = _sum(
    "arm_reward_sum", "Sum of these, which may shrink; over their number, the mean.", *_ARM
)
ARM_REWARDS_REPEATED = _counter(
    "arm_rewards_repeated",
    "Rewards that did not count, for requests that had theirs already.",
    *_ARM,
)
ARM_JUDGED = _counter("arm_judged", "Rows of answers that were held against the truth.", *_ARM)
ARM_RIGHT = _counter("arm_right", "Rows of these that were right.", *_ARM)
ROUTE_REWARDS = _counter(
    "route_rewards",
    "Rewards for requests that a router of the graph sent along a route.",
    *_ARM, "router", "route",
)  # fmt: skip
ROUTE_REWARD_SUM = _sum(
    "route_reward_sum", "Sum of these, which may shrink.", *_ARM, "router", "route"
)

# Nodes, routes and hops.
NODE_DURATION = _histogram(
    "node_duration_seconds",
    "Time in a node's component, of calls that succeeded; a batch is one call.",
    *_NODE,
)
NODE_ERRORS = _counter(
    "node_errors", "Calls of a node's component that failed, by class of error.", *_NODE, "kind"
)
NODE_IN_FLIGHT = _gauge(
    "node_in_flight",
    "Calls of a node's component that wait or are under way, on the event loop left out.",
    *_NODE,
)
QUEUE_DURATION = _histogram(
    "queue_duration_seconds",
    "Time that requests waited for their turn in a node that runs in threads or batches.",
    *_NODE,
)
BATCH_SIZE = _histogram("batch_size_rows", "Rows of a batch.", *_NODE, bounds=COUNTS)
BATCH_REQUESTS = _histogram("batch_requests", "Requests in a batch.", *_NODE, bounds=COUNTS)
ROUTE_REQUESTS = _counter(
    "route_requests",
    "Requests that a router of the graph sent along a route.",
    *_ARM, "router", "route",
)  # fmt: skip
HOP_DURATION = _histogram(
    "hop_duration_seconds",
    "Time of a call into another process, there and back, with the work that it waits for.",
    *_ARM, "segment",
)  # fmt: skip
NODE_RECOVERIES = _counter(
    "node_recoveries",
    "Failed attempts of a node, by what was done: retry, use, value, skip.",
    *_NODE, "action",
)  # fmt: skip

# Replicas.
REPLICAS = _gauge(
    "replicas",
    "Replicas of a segment by state, such as running or starting; the head is segment `head`.",
    *_ARM, "segment", "state", across="max",
)  # fmt: skip
REPLICA_START = _histogram(
    "replica_start_seconds",
    "Time that a replica took to load and warm up its nodes.",
    *_ARM, "segment",
)  # fmt: skip
COLD_STARTS = _counter(
    "cold_starts",
    "Replicas that were started for a segment that was scaled to zero.",
    *_ARM, "segment",
)  # fmt: skip

# Mirrors.
MIRROR_SELECTED = _counter(
    "mirror_selected", "Requests of which a copy was due: those sent and those dropped.", *_ARM
)
MIRROR_SENT = _counter("mirror_sent", "Copies that were sent.", *_ARM)
MIRROR_DROPPED = _counter(
    "mirror_dropped",
    "Copies that were not sent, because too many, or too large ones, were on their way.",
    *_ARM,
)
MIRROR_ERRORS = _counter("mirror_errors", "Copies that failed, by class of error.", *_ARM, "kind")
MIRROR_COMPARED = _counter(
    "mirror_compared",
    "Copies that were answered, and compared with what the client got.",
    *_ARM,
)
MIRROR_AGREED = _counter(
    "mirror_agreed", "Answers of these that agreed: equal classes, or close where there are none.",
    *_ARM,
)  # fmt: skip
MIRROR_CLOSE = _counter(
    "mirror_close", "Answers of these whose every element was equal, floats within the tolerance.",
    *_ARM,
)  # fmt: skip
MIRROR_PENDING = _gauge("mirror_pending", "Copies on their way now.", *_ARM)
MIRROR_LATENCY_DIFFERENCE = _gauge(
    "mirror_latency_difference_seconds",
    "How much longer the mirror took than the client's arm, over the last half to one minute: "
    "the difference of the quantiles; absent without a copy.",
    *_ARM, "quantile", across="max",
)  # fmt: skip

# Rollouts.
ROLLOUT_STATE = _gauge(
    "rollout_state",
    "1 for the state that the graph's latest rollout is in, 0 for the others.",
    "graph", "state", across="max",
)  # fmt: skip
ROLLOUT_STEP = _gauge(
    "rollout_step_percent",
    "Share of the traffic that the rollout gives to its candidate now, in percent.",
    *_ARM, across="max",
)  # fmt: skip
ROLLOUT_VERDICTS = _counter(
    "rollout_verdicts",
    "Looks at a metric of a rollout's analysis, by verdict: pass, fail, inconclusive, error.",
    "graph", "metric", "verdict",
)  # fmt: skip

# Models that share a replica.
MULTIPLEX_HITS = _counter(
    "multiplex_hits", "Requests that found their model in memory, or on its way there.", *_NODE
)
MULTIPLEX_MISSES = _counter("multiplex_misses", "Requests that had their model loaded.", *_NODE)
MULTIPLEX_FAILURES = _counter(
    "multiplex_failures", "Loads that failed; a model that does not exist is one.", *_NODE
)
MULTIPLEX_EVICTIONS = _counter(
    "multiplex_evictions", "Models that were let go to make room.", *_NODE
)
MULTIPLEX_LOAD_SECONDS = _counter(
    "multiplex_load_seconds", "Time that loading took, in seconds; over misses, the mean.", *_NODE
)
MULTIPLEX_LOADED = _gauge("multiplex_loaded", "Models in memory now.", *_NODE)

# Explainers.
EXPLANATIONS = _counter(
    "explanations",
    "Explanations that an explainer was asked for, by outcome: explained, cached, refused (the "
    "request was wrong), full, late, failed.",
    *_NODE, "outcome",
)  # fmt: skip
EXPLANATION_SECONDS = _counter(
    "explanation_seconds",
    "Time that explanations took, in seconds; over those explained and cached, the mean.",
    *_NODE,
)
EXPLAINER_SAMPLES = _counter(
    "explainer_samples",
    "Requests that were drawn to be explained, by outcome: explained, failed, or dropped, because "
    "too many, or too large ones, were on their way.",
    *_NODE, "outcome",
)  # fmt: skip
ATTRIBUTION = _counter(
    "attribution",
    "Sum of what each feature added to the target in samples of the traffic, without sign; 64 "
    "features have a label, the others are `other`.",
    *_NODE, "feature",
)  # fmt: skip
ATTRIBUTION_ROWS = _counter("attribution_rows", "Rows of these samples.", *_NODE)

# Monitors.
MONITOR_ROWS = _counter("monitor_rows", "Rows that a monitor has looked at.", *_ARM, "monitor")
MONITOR_SCORE = _gauge(
    "monitor_score",
    "How far the latest window is from the reference, of the feature that is furthest: 0 for "
    "equal, in units of the method's threshold: above 1 is drift. Absent before the first window.",
    *_ARM, "monitor", across="max",
)  # fmt: skip
MONITOR_FEATURE_SCORE = _gauge(
    "monitor_feature_score",
    "The same of each feature; 64 features have a label.",
    *_ARM, "monitor", "feature", across="max",
)  # fmt: skip
MONITOR_DRIFT = _gauge(
    "monitor_drift", "1 while the monitor says that there is drift, else 0.", *_ARM, "monitor",
    across="max",
)  # fmt: skip
MONITOR_QUANTILE = _gauge(
    "monitor_quantile",
    "Quantiles of all that a sketch has seen of a feature, by share: 0.05, 0.25, 0.5, 0.75, 0.95; "
    "64 features have a label.",
    *_ARM, "monitor", "feature", "quantile", across="max",
)  # fmt: skip
MONITOR_OUTLIERS = _counter("monitor_outliers", "Rows that were outliers.", *_ARM, "monitor")
MONITOR_ALARMS = _counter("monitor_alarms", "Times that drift began.", *_ARM, "monitor")
MONITOR_ERRORS = _counter("monitor_errors", "Windows that a monitor failed on.", *_ARM, "monitor")

# What leaves the engine.
OUTLET_SELECTED = _counter(
    "outlet_selected",
    "Items for an outlet (traces, traces-shown, requests, monitors): those sent, dropped and "
    "waiting.",
    "graph", "outlet",
)  # fmt: skip
OUTLET_SENT = _counter("outlet_sent", "Items that were delivered.", "graph", "outlet")
OUTLET_DROPPED = _counter(
    "outlet_dropped",
    "Items that were not, by reason: full (too many waited), failed, late, closed.",
    "graph", "outlet", "reason",
)  # fmt: skip
OUTLET_WAITING = _gauge("outlet_waiting", "Items that wait now.", "graph", "outlet")
