"""Definitions of all metrics, as data: registries, exporters, dashboards and docs use this list.

Names and units follow the conventions of Prometheus: seconds, bytes and ratios from 0 to 1; a
counter ends in ``_total``. Labels are bounded: no text that a client chooses is ever a label.
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
AGES = (
    *(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0),
    *(86400.0, 3 * 86400.0, 7 * 86400.0, 30 * 86400.0, math.inf),
)
"""Upper bounds of the buckets of ages, in seconds."""


@dataclass(frozen=True)
class MetricDefinition:
    """One metric. ``bounds`` are the upper bounds of a histogram's buckets, the last infinite."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    across: Across = "sum"
    """How the values of a gauge in several processes are joined to one value."""
    is_sum: bool = False
    """Whether the gauge is a sum that may shrink, and that outlives its process."""

    @property
    def lasts(self) -> bool:
        """Whether the counts of a process are kept when the process has ended."""
        return self.is_sum or self.kind != "gauge"


def bound_label(bound: float) -> str:
    """Return the value of the label ``le`` for the upper bound of a bucket."""
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
    "feedback, predict, predictions, completions, embeddings, other), protocol (http, grpc) and "
    "status: a number for HTTP, a name for gRPC. Status 499 or CANCELLED: the client hung up "
    "before its reply.",
    *("graph", "endpoint", "protocol", "code"),
)
REQUEST_DURATION = _histogram(
    "request_duration_seconds",
    "Time from the arrival of a request's head in the router to the end of its reply.",
    *("graph", "endpoint", "protocol"),
)
REQUESTS_IN_FLIGHT = _gauge("requests_in_flight", "Requests in progress in routers.", "graph")

# Arms: revisions that take part in the traffic.
ARM_WEIGHT = _gauge(
    "arm_weight",
    "The arm's share of the requests that go by weight, 0 to 1.",
    *_ARM,
    across="max",
)
ARM_REQUESTS = _counter(
    "arm_requests",
    "Requests that the arm evaluated, without those that the client got wrong.",
    *_ARM,
)
ARM_ERRORS = _counter(
    "arm_errors", "Requests to the arm that failed, by class of error, such as NodeError.",
    *_ARM, "kind",
)  # fmt: skip
ARM_LATENCY = _histogram(
    "arm_latency_seconds", "Time to evaluate a request, without the hop to the arm.", *_ARM
)
ARM_FIRST_TOKEN = _histogram(
    "arm_first_token_seconds", "Time to the first token of a streamed answer.", *_ARM
)
ARM_FURTHER_TOKEN = _histogram(
    "arm_further_token_seconds",
    "Mean time of each further token of a streamed answer with more than one.",
    *_ARM,
)
ARM_TOKENS = _counter(
    "arm_tokens",
    "Tokens of the arm's answers, by kind (prompt, completion): those that its graph tells, else "
    "the parts of streams.",
    *_ARM, "kind",
)  # fmt: skip
ARM_GENERATION_SECONDS = _counter(
    "arm_generation_seconds",
    "Time to evaluate the answers whose tokens are counted, in seconds; completion tokens divided "
    "by it are the tokens per second of an answer.",
    *_ARM,
)
ARM_REWARDS = _counter("arm_rewards", "Rewards that counted for the arm's answers.", *_ARM)
ARM_REWARD_SUM = _sum(
    "arm_reward_sum",
    "Sum of the arm's rewards, which may shrink; divided by their number, the mean.",
    *_ARM,
)
ARM_REWARDS_REPEATED = _counter(
    "arm_rewards_repeated",
    "Rewards that did not count, since their request had a reward already.",
    *_ARM,
)
ARM_JUDGED = _counter(
    "arm_judged", "Rows of the arm's answers that were compared with the truth.", *_ARM
)
ARM_RIGHT = _counter("arm_right", "Rows of the arm's answers that equalled the truth.", *_ARM)
ROUTE_REWARDS = _counter(
    "route_rewards",
    "Rewards for requests that a router node sent along a route.",
    *_ARM, "router", "route",
)  # fmt: skip
ROUTE_REWARD_SUM = _sum(
    "route_reward_sum", "Sum of the rewards of a route, which may shrink.", *_ARM, "router", "route"
)

# Nodes, routes and hops.
NODE_DURATION = _histogram(
    "node_duration_seconds",
    "Time in a node's component of successful calls; a batch is one call.",
    *_NODE,
)
NODE_ERRORS = _counter(
    "node_errors", "Calls of a node's component that failed, by class of error.", *_NODE, "kind"
)
NODE_IN_FLIGHT = _gauge(
    "node_in_flight",
    "Calls of a node's component that wait or run, without calls on the event loop.",
    *_NODE,
)
QUEUE_DURATION = _histogram(
    "queue_duration_seconds",
    "Time for which requests waited in the queue of a node that runs in threads or batches.",
    *_NODE,
)
BATCH_SIZE = _histogram("batch_size_rows", "Rows in a batch.", *_NODE, bounds=COUNTS)
BATCH_REQUESTS = _histogram("batch_requests", "Requests in a batch.", *_NODE, bounds=COUNTS)
ROUTE_REQUESTS = _counter(
    "route_requests",
    "Requests that a router node sent along a route.",
    *_ARM, "router", "route",
)  # fmt: skip
CUSTOM_COUNTER = _counter(
    "component_counter", "Increments that components count by themselves.", *_NODE, "name"
)
CUSTOM_GAUGE = _gauge(
    "component_gauge", "Values that components show by themselves.", *_NODE, "name", across="max"
)
CUSTOM_DURATION = _histogram(
    "component_duration_seconds", "Times that components measure by themselves.", *_NODE, "name"
)
HOP_DURATION = _histogram(
    "hop_duration_seconds",
    "Time of a call to another process, there and back, the work there included.",
    *_ARM, "segment",
)  # fmt: skip
MODEL_REQUESTS = _counter(
    "model_requests",
    "Calls of a graph (`user`) to a shared model (`graph`), the failed ones included.",
    *_ARM, "user",
)  # fmt: skip
MODEL_ERRORS = _counter(
    "model_errors",
    "Calls of a graph to a shared model that failed, by class of error.",
    *_ARM, "user", "kind",
)  # fmt: skip
MODEL_DURATION = _histogram(
    "model_duration_seconds",
    "Time of a graph's successful calls to a shared model, there and back.",
    *_ARM, "user",
)  # fmt: skip
NODE_RECOVERIES = _counter(
    "node_recoveries",
    "Failed attempts of a node, by the action that followed: retry, use, value, skip.",
    *_NODE, "action",
)  # fmt: skip

# Replicas.
REPLICAS = _gauge(
    "replicas",
    "Replicas of a segment by state, such as running or starting, of which those are `waiting` "
    "too for which no machine has room; the head is segment `head`.",
    *_ARM, "segment", "state", across="max",
)  # fmt: skip
MACHINE_REPLICAS = _gauge(
    "machine_replicas",
    "Replicas on a machine of an engine that has several, by deployment: `router`, or a segment.",
    "graph", "deployment", "machine", across="max",
)  # fmt: skip
SEGMENT_DOWN = _gauge(
    "segment_down",
    "1 while a segment should have a running replica and has none, else 0: calls to it fail.",
    *_ARM, "segment", across="max",
)  # fmt: skip
REPLICA_MEMORY = _gauge(
    "replica_memory_ratio",
    "Resident memory of a replica as a share of `resources.memory`: above 1 the replica is"
    " replaced. The largest of the segment's replicas; nothing without `resources.memory`.",
    *_ARM, "segment", across="max",
)  # fmt: skip
REPLICA_START = _histogram(
    "replica_start_seconds",
    "Time in which a replica loaded and warmed up its nodes.",
    *_ARM, "segment",
)  # fmt: skip
COLD_STARTS = _counter(
    "cold_starts",
    "Replicas that were started for a segment at zero replicas.",
    *_ARM, "segment",
)  # fmt: skip

# Mirrors.
MIRROR_SELECTED = _counter(
    "mirror_selected",
    "Requests that were selected for a copy: the sent and the dropped copies.",
    *_ARM,
)
MIRROR_SENT = _counter("mirror_sent", "Copies that were sent to the mirror.", *_ARM)
MIRROR_DROPPED = _counter(
    "mirror_dropped",
    "Copies that were not sent, since too many copies, or too many bytes, were on their way.",
    *_ARM,
)
MIRROR_ERRORS = _counter(
    "mirror_errors", "Copies that the mirror failed, by class of error.", *_ARM, "kind"
)
MIRROR_COMPARED = _counter(
    "mirror_compared",
    "Copies that the mirror answered, compared with the client's answer.",
    *_ARM,
)
MIRROR_AGREED = _counter(
    "mirror_agreed",
    "Compared answers that agreed: equal classes, or close values where an output has no classes.",
    *_ARM,
)  # fmt: skip
MIRROR_CLOSE = _counter(
    "mirror_close", "Compared answers whose elements were all equal, floats within the tolerance.",
    *_ARM,
)  # fmt: skip
MIRROR_PENDING = _gauge("mirror_pending", "Copies on their way to the mirror.", *_ARM)
MIRROR_LATENCY_DIFFERENCE = _gauge(
    "mirror_latency_difference_seconds",
    "Latency of the mirror minus that of the client's arm, over the last half to one minute: the "
    "difference of the quantiles; absent without a copy.",
    *_ARM, "quantile", across="max",
)  # fmt: skip

# Rollouts.
ROLLOUT_STATE = _gauge(
    "rollout_state",
    "1 for the state of the graph's latest rollout, 0 for all other states, and without a rollout.",
    "graph", "state", across="max",
)  # fmt: skip
ROLLOUT_STEP = _gauge(
    "rollout_step_percent",
    "Share of the traffic that the rollout gives to its candidate, in percent.",
    *_ARM, across="max",
)  # fmt: skip
ROLLOUT_VERDICTS = _counter(
    "rollout_verdicts",
    "Looks at a metric of a rollout's analysis, by verdict: pass, fail, inconclusive, error.",
    "graph", "metric", "verdict",
)  # fmt: skip

# Watched models.
WATCH_AGE = _gauge(
    "watch_age_seconds",
    "Age of the last look at a watched model that succeeded, in seconds; absent before the first.",
    "graph", "model", across="max",
)  # fmt: skip
WATCH_MOVES = _counter(
    "watch_moves", "Revisions that were made because a watched model has moved.", "graph"
)

WATCH_TROUBLE = _gauge(
    "watch_trouble_seconds",
    "Time since a watched model cannot be followed, in seconds; 0 while it can.",
    "graph", "model", across="max",
)  # fmt: skip

# Asynchronous requests.
ASYNC_OPEN = _gauge(
    "async_open", "Asynchronous requests that are not over, by state: waiting, running.",
    "graph", "state",
)  # fmt: skip
ASYNC_ENDED = _counter(
    "async_ended",
    "Asynchronous requests that are over, by outcome: answered, failed (with a status of 400 or"
    " more), cancelled, lost.",
    "graph", "outcome",
)  # fmt: skip
WEBHOOK_CALLS = _counter(
    "webhook_calls",
    "Calls of webhooks by outcome: delivered, failed (and tried again), given_up.",
    "graph", "outcome",
)  # fmt: skip

# Batch jobs.
JOB_ROWS = _counter(
    "job_rows",
    "Rows of batch jobs of the engine that are written, by outcome: answered, failed.",
    "graph", "outcome",
)  # fmt: skip

# Models that share a replica.
MULTIPLEX_HITS = _counter(
    "multiplex_hits", "Requests that found their model loaded, or being loaded.", *_NODE
)
MULTIPLEX_MISSES = _counter("multiplex_misses", "Requests for which a model was loaded.", *_NODE)
MULTIPLEX_FAILURES = _counter(
    "multiplex_failures", "Loads that failed, loads of unknown models included.", *_NODE
)
MULTIPLEX_EVICTIONS = _counter(
    "multiplex_evictions", "Models that were unloaded to make room.", *_NODE
)
MULTIPLEX_LOAD_SECONDS = _counter(
    "multiplex_load_seconds",
    "Time of all loads, in seconds; divided by the misses, the mean.",
    *_NODE,
)
MULTIPLEX_LOADED = _gauge("multiplex_loaded", "Models in memory.", *_NODE)

# Lookups of features.
LOOKUP_ROWS = _counter(
    "lookup_rows",
    "Rows of requests that a `lookup` node looked up, by outcome: cache, store, stale (from "
    "memory, while the store was away), missing (the store has no value, or one that is too old), "
    "away (neither the store nor the memory had it).",
    *_NODE, "outcome",
)  # fmt: skip
LOOKUP_CALLS = _counter(
    "lookup_calls",
    "Calls of a feature store, by outcome: answered, late, away, failed.",
    *_NODE, "outcome",
)  # fmt: skip
LOOKUP_DURATION = _histogram(
    "lookup_duration_seconds", "Time of a call of a feature store, for all its keys.", *_NODE
)
LOOKUP_AGE = _histogram(
    "lookup_age_seconds",
    "Age of rows that were used, by their time in the store; none where it does not tell.",
    *_NODE,
    bounds=AGES,
)

# Caches.
CACHE_REQUESTS = _counter(
    "cache_requests",
    "Questions to a cache, by outcome: hit, miss, wait (the same question was being answered), "
    "bypass (the request asked for a fresh answer); the cache of a whole graph has no node.",
    *_NODE, "outcome",
)  # fmt: skip
CACHE_EVICTIONS = _counter(
    "cache_evictions", "Answers that left a cache of a machine to make room.", *_NODE
)
CACHE_ERRORS = _counter(
    "cache_errors", "Answers that could not be read from the store of a cache, or kept.", *_NODE
)
CACHE_BYTES = _gauge(
    "cache_bytes",
    "Bytes that a cache takes on a machine: that with the most bytes, of several.",
    *_NODE, across="max",
)  # fmt: skip

# Explainers.
EXPLANATIONS = _counter(
    "explanations",
    "Requests for explanations, by outcome: explained, cached, refused (the request was wrong), "
    "full, late, failed.",
    *_NODE, "outcome",
)  # fmt: skip
EXPLANATION_SECONDS = _counter(
    "explanation_seconds",
    "Time of all explanations, in seconds; divided by the outcomes explained and cached, the mean.",
    *_NODE,
)
EXPLAINER_SAMPLES = _counter(
    "explainer_samples",
    "Requests that were drawn for an explanation, by outcome: explained, failed, or dropped, since "
    "too many samples, or too many bytes, were on their way.",
    *_NODE, "outcome",
)  # fmt: skip
ATTRIBUTION = _counter(
    "attribution",
    "Sum of the absolute attributions of each feature in samples of the traffic; 64 features have "
    "a label, the others are `other`.",
    *_NODE, "feature",
)  # fmt: skip
ATTRIBUTION_ROWS = _counter(
    "attribution_rows", "Rows of the samples of the traffic that were explained.", *_NODE
)

# Monitors.
MONITOR_ROWS = _counter("monitor_rows", "Rows that a monitor has received.", *_ARM, "monitor")
MONITOR_SCORE = _gauge(
    "monitor_score",
    "Distance of the latest window from the reference, for the feature with the largest distance, "
    "in units of the method's threshold: 0 is equal, above 1 is drift. Absent before the first "
    "window.",
    *_ARM, "monitor", across="max",
)  # fmt: skip
MONITOR_FEATURE_SCORE = _gauge(
    "monitor_feature_score",
    "Distance of the latest window from the reference for each feature, in units of the method's "
    "threshold; 64 features have a label.",
    *_ARM, "monitor", "feature", across="max",
)  # fmt: skip
MONITOR_DRIFT = _gauge(
    "monitor_drift", "1 while the monitor reports drift, else 0.", *_ARM, "monitor",
    across="max",
)  # fmt: skip
MONITOR_QUANTILE = _gauge(
    "monitor_quantile",
    "Quantiles of all values of a feature in a sketch, by share: 0.05, 0.25, 0.5, 0.75, 0.95; 64 "
    "features have a label.",
    *_ARM, "monitor", "feature", "quantile", across="max",
)  # fmt: skip
MONITOR_OUTLIERS = _counter(
    "monitor_outliers", "Rows that a monitor found to be outliers.", *_ARM, "monitor"
)
MONITOR_ALARMS = _counter("monitor_alarms", "Beginnings of drift.", *_ARM, "monitor")
MONITOR_ERRORS = _counter(
    "monitor_errors", "Windows for which the monitor failed.", *_ARM, "monitor"
)

# Bundles.
BUNDLE_BYTES_SENT = _counter(
    "bundle_bytes_sent",
    "Bytes of bundles and their models that the controller sent to machines of the cluster.",
)

# Access.
ACCESS_REFUSED = _counter(
    "access_refused",
    "Attempts that were refused, by door (http, grpc, control) and reason: unauthenticated (no "
    "credentials, or unknown ones), forbidden (they do not allow it), limited (too many requests "
    "of a caller, or connections of an address); and by the edge alone: unreadable (malformed, or "
    "not there in time), overload (more than the event loop of a router can take).",
    "door", "reason",
)  # fmt: skip

# Outlets.
OUTLET_SELECTED = _counter(
    "outlet_selected",
    "Items for an outlet (traces, traces-shown, requests, monitors): the sent, dropped and waiting "
    "items.",
    "graph", "outlet",
)  # fmt: skip
OUTLET_SENT = _counter("outlet_sent", "Items that the outlet delivered.", "graph", "outlet")
OUTLET_DROPPED = _counter(
    "outlet_dropped",
    "Items that the outlet did not deliver, by reason: full (too many items waited), failed, late, "
    "closed.",
    "graph", "outlet", "reason",
)  # fmt: skip
OUTLET_WAITING = _gauge("outlet_waiting", "Items that wait in the outlet.", "graph", "outlet")
