"""The language as models: ``apiVersion: anabranch/v1``, ``kind: InferenceGraph``.

Models are immutable and strict: unknown fields and values of another type are errors. What needs
more than one field to judge lives in ``checks``; what needs the whole graph lives in the
compiler's passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
)

from anabranch.specs.units import Duration, Percentage, Size

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip
"""Tensor datatypes of the Open Inference Protocol."""

GRAPH_NAME = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
NODE_NAME = r"^[A-Za-z_][-A-Za-z0-9_]{0,62}$"
TENSOR_NAME = r"^[A-Za-z_][-A-Za-z0-9_:/]{0,126}$"
PARAMETER_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,126}$"
HEADER_NAME = r"^[A-Za-z0-9-]{1,64}$"
SHA256 = r"^[0-9a-f]{64}$"
LIMIT = r"^[0-9]{1,15}(\.[0-9]{1,9})?(x|us|ms|s|m|h)$"
TARGET = r"^(stable|candidate|r[1-9][0-9]{0,8})$"
URL = r"^https?://[^\s/?#@]+(/[^\s#]*)?$"
LOG_SINK = r"^(file|https?://[^\s/?#@]+(/[^\s#]*)?|kafka://[^\s/?#@]+/[A-Za-z0-9._-]{1,249})$"

GraphName = Annotated[str, Field(pattern=GRAPH_NAME)]
NodeName = Annotated[str, Field(pattern=NODE_NAME)]
TensorName = Annotated[str, Field(pattern=TENSOR_NAME)]
ParameterName = Annotated[str, Field(pattern=PARAMETER_NAME)]
Source = Annotated[str, Field(min_length=1, max_length=256)]
"""A graph input, a node, or ``node.output``."""
Dimension = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Condition = Annotated[str, Field(min_length=1, max_length=4096)]
"""Text in the Common Expression Language."""

TEXT, NUMBER, LIST, MAP = "«text»", "«number»", "«list»", "«map»"
"""Tags of the arms of a union that goes by the shape of its value."""


def by_shape(*shapes: str, expected: str) -> Discriminator:
    """Picks the arm of a union by what the value is, so that a mistake is reported once."""
    found = _shape_in(frozenset(shapes))
    return Discriminator(found, custom_error_type="shape", custom_error_message=expected)


def _shape_in(shapes: frozenset[str]) -> Callable[[Any], str | None]:
    def shape(value: Any) -> str | None:
        found = _shape(value)
        return found if found in shapes else None

    return shape


def _shape(value: Any) -> str | None:
    match value:
        case bool() | None:
            return None
        case str():
            return TEXT
        case int() | float():
            return NUMBER
        case list():
            return LIST
    return MAP if isinstance(value, dict | BaseModel) else None


MAX_ARGUMENT_DEPTH = 24
"""Deepest nesting of maps and lists in an argument."""
_LARGEST_NUMBER = 10**60


def _portable(value: JsonValue) -> JsonValue:
    """Refuse what cannot be written and read back: infinities, NaN, endless digits or nesting."""
    level, depth = [value], 0
    while level:
        if depth > MAX_ARGUMENT_DEPTH:
            raise ValueError(f"nested deeper than {MAX_ARGUMENT_DEPTH} levels")
        level = [inner for item in level for inner in _inner(item)]
        depth += 1
    return value


def _inner(value: JsonValue) -> Iterable[JsonValue]:
    match value:
        case float() if not math.isfinite(value):
            raise ValueError(".inf and .nan are not allowed here")
        case int() if abs(value) > _LARGEST_NUMBER:
            raise ValueError("has a number of more than 60 digits")
        case list():
            return value
        case dict():
            return value.values()
    return ()


Argument = Annotated[JsonValue, AfterValidator(_portable)]
Limit = Annotated[
    Annotated[float, Field(allow_inf_nan=False), Tag(NUMBER)]
    | Annotated[str, StringConstraints(pattern=LIMIT), Tag(TEXT)],
    by_shape(
        NUMBER,
        TEXT,
        expected="must be a number, a duration such as 250ms, or a multiple of stable such as 1.2x",
    ),
]
"""A limit of a metric: absolute (latencies are durations), or a multiple of the stable one's."""
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Url = Annotated[str, Field(pattern=URL, max_length=2048)]


class Model(BaseModel):
    """Base of all models of the language."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class TensorSpec(Model):
    """The type of a tensor."""

    datatype: Datatype
    """Datatype of every element."""
    shape: tuple[Dimension, ...] = Field(max_length=16, strict=False)
    """Sizes per dimension; -1 stands for any size."""

    def __str__(self) -> str:
        return f"{self.datatype}[{', '.join(str(size) for size in self.shape)}]"


class Resources(Model):
    """What each replica of the node's segment reserves; any makes a segment of its own."""

    cpu: Annotated[float, Field(ge=0, le=4096, allow_inf_nan=False)] | None = None
    """Logical CPUs, such as 0.5 or 2."""
    gpu: Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)] | None = None
    """GPUs, such as 0.5 or 1."""
    memory: Size | None = None
    """Memory, such as 2GiB."""
    accelerator: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Accelerator type as Ray names it, such as H100."""


class Peak(Model):
    """A known peak: from each time that ``cron`` names, ``for`` so long, at least ``min``."""

    cron: Annotated[str, Field(min_length=1, max_length=128)]
    """When it begins: minute, hour, day of the month, month, day of the week, such as
    `0 8 * * 1-5`."""
    for_: Duration = Field(alias="for")
    """How long it lasts."""
    min: Annotated[int, Field(ge=1, le=1000)]
    """Fewest replicas meanwhile."""
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    """Name of the time zone that ``cron`` is in, such as Europe/Berlin."""


class Scaling(Model):
    """How many replicas: either ``replicas``, or autoscaling between ``min`` and ``max``."""

    replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """A fixed number of replicas."""
    min: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Fewest replicas; 0 scales to zero."""
    max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas."""
    target_ongoing: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    """Requests in progress per replica that autoscaling aims at."""
    upscale_delay: Duration | None = None
    """How long load must last before replicas are added."""
    downscale_delay: Duration | None = None
    """How long idleness must last before replicas are removed."""
    max_queue: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Most requests that may wait for a replica; more are refused at once."""
    schedule: Annotated[list[Peak], Field(min_length=1, max_length=64)] | None = None
    """Known peaks, ahead of which the fewest replicas are raised."""


class Placement(Model):
    """Where a node runs."""

    isolate: bool | None = None
    """True puts the node in a process of its own."""
    with_: NodeName | None = Field(default=None, alias="with")
    """Ties the node to the segment of another node."""


class Batching(Model):
    """Gathers requests into one call along dimension 0."""

    max_size: Annotated[int, Field(ge=1, le=65_536)]
    """Most rows in a batch."""
    max_delay: Duration | None = None
    """Longest time that a request may be held."""
    max_queue: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests that may wait."""


class StandIn(Model):
    """On failure, take something else instead: exactly one of the fields."""

    use: Source | None = None
    """A graph input, a node, or node.output; it runs only if this node fails."""
    value: Argument | None = None
    """A number, text, or nested lists of them: the node's only output, of its declared type."""


class Multiplex(Model):
    """Many models of one kind in a few replicas, loaded when they are asked for."""

    parameter: Annotated[str, Field(min_length=1, max_length=64)] = "model"
    """The request parameter that names the model."""
    max_loaded: Annotated[int, Field(ge=1, le=100_000)] = 16
    """Most models that a replica holds; the one that was used least recently makes room."""


class NodeBase(Model):
    """Fields common to nodes of every type."""

    component: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Your class: file.py:Class relative to the spec, or package.module:Class."""
    args: dict[str, Argument] = {}
    """Keyword arguments of the constructor."""
    outputs: dict[TensorName, TensorSpec] | None = None
    """Declared output tensors; checked on every call."""
    resources: Resources | None = None
    scaling: Scaling | None = None
    placement: Placement | None = None
    batching: Batching | None = None
    timeout: Duration | None = None
    """Longest time that one attempt may take."""
    idempotent: bool = False
    """Whether calling the node twice does no harm; only then may it be retried."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further attempts after a failure, for nodes that are ``idempotent``."""
    on_error: Annotated[
        Annotated[Literal["fail", "skip"], Tag(TEXT)] | Annotated[StandIn, Tag(MAP)],
        by_shape(
            TEXT,
            MAP,
            expected="must be `fail`, `skip`, or a map such as {use: other-node} or {value: 0.0}",
        ),
    ] = "fail"
    """What happens once every attempt has failed; `skip` leaves the node out of the combiners that
    read it and have a ``quorum``."""


class Transformer(NodeBase):
    """Turns tensors into tensors: ``transform(**inputs)``."""

    type: Literal["transformer"]
    method: str | None = None
    """A built-in: scale, cast, rename, select, softmax, argmax, threshold."""
    inputs: dict[ParameterName, Source] = Field(min_length=1)
    """Parameter: source."""


class Predictor(NodeBase):
    """A model: ``predict(**inputs)``."""

    type: Literal["predictor"]
    runtime: str | None = None
    """A built-in model server: sklearn, torch, onnx, xgboost, lightgbm, catboost, mlflow,
    huggingface, open_inference."""
    model: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The model's file or folder: a path relative to the spec, or a URI."""
    multiplex: Multiplex | None = None
    """Many models in this node; ``model`` then holds `{model}`, where the name goes."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """Digest of the model's file; needed for formats that can run code and come by URI."""
    method: str | None = None
    """Method of the model to call, such as predict_proba."""
    inputs: dict[ParameterName, Source] = Field(min_length=1)
    """Parameter: source."""


class Combiner(NodeBase):
    """Joins several tensors: ``combine(inputs)`` for a list, ``combine(**inputs)`` for a map."""

    type: Literal["combiner"]
    strategy: str | None = None
    """A built-in: mean, weighted_mean, vote, max, concat, first."""
    quorum: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Fewest inputs to go on with where others were left out by `on_error: skip`."""
    inputs: Annotated[
        Annotated[list[Source], Field(min_length=1), Tag(LIST)]
        | Annotated[dict[ParameterName, Source], Field(min_length=1), Tag(MAP)],
        by_shape(LIST, MAP, expected="must be a list of sources, or a map of parameter: source"),
    ]
    """Sources, in order; or parameter: source."""


class Rule(Model):
    """One line of a ``rules`` router; the first whose condition holds wins."""

    when: Condition
    """Condition in the Common Expression Language over ``request`` and ``inputs``."""
    to: NodeName
    """The node to route to."""


class Router(NodeBase):
    """Picks one node, whose outputs become its own: ``route(**inputs)``."""

    type: Literal["router"]
    strategy: str | None = None
    """A built-in: weighted, rules; or one that learns from rewards: epsilon_greedy, thompson, ucb1,
    linucb."""
    routes: (
        Annotated[
            Annotated[dict[NodeName, Share], Field(min_length=1), Tag(MAP)]
            | Annotated[list[NodeName], Field(min_length=1), Tag(LIST)],
            by_shape(MAP, LIST, expected="must be a map of node: weight, or a list of nodes"),
        ]
        | None
    ) = None
    """The nodes to pick from; for ``weighted``, node: weight."""
    rules: Annotated[list[Rule], Field(min_length=1)] | None = None
    """Conditions of the ``rules`` strategy, first match wins."""
    otherwise: NodeName | None = None
    """Where the ``rules`` strategy sends what no rule matches."""
    inputs: dict[ParameterName, Source] = {}
    """Parameter: source, for routers that look at tensors."""

    def targets(self) -> tuple[str, ...]:
        """The nodes that the router may pick, in the order of the spec, each once."""
        ruled = [rule.to for rule in self.rules or ()]
        last = [self.otherwise] if self.otherwise else []
        return tuple(dict.fromkeys([*(self.routes or ()), *ruled, *last]))


class Explainer(NodeBase):
    """Explains a node's answers: ``explain(**inputs)``."""

    type: Literal["explainer"]
    explains: str | None = None
    """The node to explain; the whole graph if left out."""
    method: str | None = None
    """A built-in, such as anchor_tabular."""
    model: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """A fitted explainer."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    data: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """A sample to fit on at start: .npy, .npz or .csv."""
    inputs: dict[ParameterName, Source] = {}
    """Parameter: source; what the explained node receives, or the graph, if left out."""
    colocate: bool | None = None
    """Whether to explain a copy of the node in the explainer's own process; if left out, only a
    node that has no process of its own, or whose code the method looks into."""
    sample: Percentage | None = None
    """Share of the live traffic that is explained off the request path, such as 1%."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of all that is random in an explanation, unless a request names its own."""


Node = Annotated[
    Transformer | Predictor | Combiner | Router | Explainer, Field(discriminator="type")
]
NODE_TYPES: dict[str, type[NodeBase]] = {
    "transformer": Transformer,
    "predictor": Predictor,
    "combiner": Combiner,
    "router": Router,
    "explainer": Explainer,
}
BUILTIN_FIELD = {
    "transformer": "method",
    "predictor": "runtime",
    "combiner": "strategy",
    "router": "strategy",
    "explainer": "method",
}
"""The field that names a built-in, for each node type."""


class Sticky(Model):
    """What keeps a caller on one arm: exactly one of the fields."""

    header: Annotated[str, Field(pattern=HEADER_NAME)] | None = None
    cookie: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    parameter: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class TrafficRule(Model):
    """One condition that sends a request to a revision, whatever the weights say."""

    when: Condition
    """Condition in the Common Expression Language over ``request``: headers, parameters, id."""
    to: Annotated[str, Field(pattern=TARGET)]
    """``stable``, ``candidate`` (the newest other arm; no match where there is none), or ``r7``."""


class Compare(Model):
    """When the answer of a mirror counts as equal to the one that the client got."""

    rtol: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1e-3
    """Relative tolerance of floating-point elements."""
    atol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-6
    """Absolute tolerance of floating-point elements."""


MAX_RULES = 64
"""Most rules of the traffic; each may be evaluated for every request."""


class Traffic(Model):
    """How requests are spread over revisions.

    The newest revision that takes part in the traffic has the say.
    """

    sticky: Sticky | None = None
    rules: Annotated[list[TrafficRule], Field(min_length=1, max_length=MAX_RULES)] | None = None
    """First match wins; what none matches goes by ``sticky`` and the weights."""
    compare: Compare | None = None
    grace: Duration | None = None
    """How long a revision that was replaced or aborted stays up, for rollback at once; the engine's
    ANABRANCH_GRACE (10m) if left out."""


MetricName = Literal[
    "error_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "agreement",
    "prediction_shift",
    "reward",
    "drift",
    "promql",
]
METRICS: tuple[str, ...] = get_args(MetricName)


class Metric(Model):
    """One condition of a rollout's analysis."""

    metric: MetricName
    """What is measured; agreement is of a mirror's answers with those that clients got, reward
    the mean of what feedback says of the answers, and drift the highest score of the candidate's
    monitors, where above 1 is drift."""
    max: Limit | None = None
    """Largest value allowed: a number, for latencies a duration, or a multiple of the stable
    revision's value such as 1.2x."""
    min: Limit | None = None
    """Smallest value allowed."""
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Query of the promql metric; $graph, $revision and $stable are filled in."""


class Analysis(Model):
    """How a rollout is judged."""

    interval: Duration
    """Time between two looks at the metrics."""
    failure_limit: Annotated[int, Field(ge=0)] = 0
    """Failed looks at a metric that are put up with; one more ends the rollout."""
    consecutive_error_limit: Annotated[int, Field(ge=0)] = 4
    """Looks in a row that may find no value because of an error; one more ends the rollout."""
    min_samples: Annotated[int, Field(ge=1)] = 1
    """Requests of the candidate, or rewards for them, below which a look is inconclusive."""
    metrics: list[Metric] = Field(min_length=1)


class Rollout(Model):
    """How a new revision takes over from the stable one."""

    steps: list[Percent] = Field(min_length=1)
    """Shares of traffic in percent; after the last step the revision is promoted."""
    hold: Duration | None = None
    """How long each step lasts at least; one interval of the analysis if left out, and without
    an analysis until `rollout resume`."""
    analysis: Analysis | None = None
    mirror: Percent | None = None
    """Share of the traffic that is copied to the candidate; 100 if left out and `agreement` is
    judged, else none."""
    webhooks: Annotated[list[Url], Field(min_length=1, max_length=8)] | None = None
    """Called with JSON at every transition; each must be allowed by ANABRANCH_WEBHOOKS."""
    gate: Url | None = None
    """Asked before each step; anything but a 2xx answer pauses the rollout."""


class Warmup(Model):
    """Requests that a replica of the head answers before it is ready."""

    requests: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many."""
    rows: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Size of dimensions that may have any size."""
    data: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """An inference request in JSON, relative to the spec; tensors of zeros if left out."""


class Reference(Model):
    """What a monitor compares with: exactly one of the fields."""

    data: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """A sample of what is watched: .npy, .npz or .csv, relative to the spec."""
    first: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """The first so many rows that the revision gets."""


class Monitor(Model):
    """Watches the data of a graph off the request path, and says when it drifts."""

    component: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Your class with ``score(**inputs)``, as for nodes; instead of ``method``."""
    method: str | None = None
    """A built-in: drift, ks, chi_square, psi, mahalanobis, isolation_forest, alibi_detect,
    sketch."""
    args: dict[str, Argument] = {}
    """Keyword arguments of the constructor."""
    watches: Annotated[list[Source], Field(min_length=1, max_length=64)] | None = None
    """Graph inputs, nodes or ``node.output``; all inputs of the graph if left out."""
    reference: Reference | None = None
    """What is compared with, where the method compares."""
    window: Annotated[int, Field(ge=2, le=100_000)] = 200
    """Rows that are looked at together."""
    sample: Percentage | None = None
    """Share of the requests that is looked at; all if left out."""


class RequestLog(Model):
    """Which requests and replies are logged, as CloudEvents, and where to."""

    sample: Percentage | None = None
    """Share of the requests that is logged; all if left out."""
    to: Annotated[str, Field(pattern=LOG_SINK, max_length=2048)] = "file"
    """``file``, a folder of the engine; or a URL that ANABRANCH_REQUEST_LOGS allows:
    ``http(s)://host/path``, or ``kafka://host:port/topic``."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """Of files that are complete; the one that is being written is JSON lines."""
    redact: Annotated[list[TensorName], Field(min_length=1, max_length=256)] | None = None
    """Inputs or outputs of which only datatype and shape are logged; messages of errors, which may
    quote them, are left out then."""
    max_tensor: Size | None = None
    """Larger tensors are logged by datatype and shape alone; 64KiB if left out."""


class Telemetry(Model):
    """What the graph tells of its requests, besides its metrics."""

    trace: Percentage | None = None
    """Share of the requests that is traced, unless a traceparent decides; the engine's
    ANABRANCH_TRACE_RATIO if left out."""
    requests: RequestLog | None = None
    """Requests and replies to log; none if left out."""


class Metadata(Model):
    """What the graph is called."""

    name: GraphName
    """Name of the graph; also the model name of the protocol."""
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=63)], Annotated[str, Field(max_length=253)]
    ] = {}


class Spec(Model):
    """The graph itself."""

    inputs: dict[TensorName, TensorSpec] = Field(min_length=1)
    """Tensors that a request must carry."""
    nodes: dict[NodeName, Node] = Field(min_length=1)
    outputs: dict[TensorName, Source] = Field(min_length=1)
    """Output tensor: source."""
    timeout: Duration | None = None
    """Longest time that a request may take; 60s if left out."""
    scaling: Scaling | None = None
    """How many routers, each with the nodes of the head inside; one if left out."""
    warmup: Warmup | None = None
    """What a router does before its first request."""
    traffic: Traffic | None = None
    rollout: Rollout | None = None
    monitors: Annotated[dict[NodeName, Monitor], Field(max_length=32)] | None = None
    """What watches the data, by name."""
    telemetry: Telemetry | None = None


class InferenceGraph(Model):
    """A whole document."""

    apiVersion: Literal["anabranch/v1"]
    kind: Literal["InferenceGraph"]
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """Name of the graph."""
        return self.metadata.name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data without defaults; ``model_validate`` reads it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
