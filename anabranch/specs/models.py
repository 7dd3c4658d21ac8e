"""The language as models: ``apiVersion: anabranch/v1``, ``kind: InferenceGraph``.

Models are immutable and strict: unknown fields and values of another type are errors. Rules over
several fields are in ``checks``; rules over the whole graph are in the compiler's passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias, get_args

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

from anabranch.names import GRAPH_NAME, PART, PATH_WORDS, refuse_path_word
from anabranch.specs.units import Duration, Percentage, Size

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip
"""Tensor datatypes of the Open Inference Protocol."""
DATATYPES = frozenset(get_args(Datatype))

POOL_NAME = rf"^{PART}$"
NODE_NAME = r"^[A-Za-z_][-A-Za-z0-9_]{0,62}$"
TENSOR_NAME = r"^[A-Za-z_][-A-Za-z0-9_:/]{0,126}$"
PARAMETER_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,126}$"
HEADER_NAME = r"^[A-Za-z0-9-]{1,64}$"
SYMBOL = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
RESOURCE_NAME = r"^[A-Za-z0-9_][-A-Za-z0-9_.]{0,62}$"
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_PREFIX = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
LABEL_KEY = rf"^({_LABEL_PREFIX}(\.{_LABEL_PREFIX}){{0,31}}/)?{_LABEL}$"
LABEL_SELECTOR = rf"^!?({_LABEL}|in\({_LABEL}(, ?{_LABEL}){{0,63}}\))$"
MACHINE = r"^[A-Za-z0-9]([-A-Za-z0-9_.:]{0,251}[A-Za-z0-9])?$"
SECRET_FILE = r"^/[^\x00]{1,1023}$"
KUBERNETES_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
KUBERNETES_KEY = r"^[-._a-zA-Z0-9]{1,253}$"
SHA256 = r"^[0-9a-f]{64}$"
LIMIT = r"^[0-9]{1,15}(\.[0-9]{1,9})?(x|us|ms|s|m|h)$"
TARGET = r"^(stable|candidate|r[1-9][0-9]{0,8})$"
URL = r"^https?://[^\s/?#@]+(/[^\s#]*)?$"
LOG_SINK = r"^(file|https?://[^\s/?#@]+(/[^\s#]*)?|kafka://[^\s/?#@]+/[A-Za-z0-9._-]{1,249})$"

GraphName = Annotated[
    str,
    Field(
        pattern=GRAPH_NAME,
        json_schema_extra={"not": {"pattern": rf"/({'|'.join(sorted(PATH_WORDS))})$"}},
    ),
    AfterValidator(refuse_path_word),
]
PoolName = Annotated[str, Field(pattern=POOL_NAME)]
NodeName = Annotated[str, Field(pattern=NODE_NAME)]
TensorName = Annotated[str, Field(pattern=TENSOR_NAME)]
ParameterName = Annotated[str, Field(pattern=PARAMETER_NAME)]
Variable = Annotated[str, Field(pattern=VARIABLE)]
VariableValue = Annotated[str, Field(max_length=32_768, pattern=r"^[^\x00]*$")]
Source = Annotated[str, Field(min_length=1, max_length=256)]
"""A graph input, a node, or ``node.output``."""
Dimension = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Condition = Annotated[str, Field(min_length=1, max_length=4096)]
"""Text in the Common Expression Language."""

BOOL, TEXT, NUMBER, LIST, MAP = "«bool»", "«text»", "«number»", "«list»", "«map»"
"""Tags of the arms of a union that is selected by the shape of its value."""


def by_shape(*shapes: str, expected: str) -> Discriminator:
    """Select the arm of a union by the value's shape, so that a mistake is reported once."""
    found = _shape_in(frozenset(shapes))
    return Discriminator(found, custom_error_type="shape", custom_error_message=expected)


def _shape_in(shapes: frozenset[str]) -> Callable[[Any], str | None]:
    def shape(value: Any) -> str | None:
        found = _shape(value)
        return found if found in shapes else None

    return shape


def _shape(value: Any) -> str | None:
    match value:
        case bool():
            return BOOL
        case None:
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
    """Refuse values that YAML cannot give back: infinities, NaN, endless digits or nesting."""
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
"""A limit of a metric: absolute (latencies are durations), or a multiple of the stable
revision's value."""
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
    """Size of each dimension; -1 stands for any size."""

    def __str__(self) -> str:
        return f"{self.datatype}[{', '.join(str(size) for size in self.shape)}]"


InputDimension = Annotated[
    Annotated[Dimension, Tag(NUMBER)]
    | Annotated[str, StringConstraints(pattern=SYMBOL), Tag(TEXT)],
    by_shape(NUMBER, TEXT, expected="must be a size, -1 for any size, or a symbol such as rows"),
]
"""A size, -1 for any size, or a symbol for a size that is the same wherever the symbol stands."""


MAX_REFERENCE = 2048
"""Longest path or URI of a model or a file, in characters."""
Content: TypeAlias = Literal["text", "raw", "image"]
"""Content of an input: of BYTES text or raw bytes, of UINT8 an image."""


class InputSpec(Model):
    """The type of a graph's input."""

    datatype: Datatype
    """Datatype of every element."""
    shape: tuple[InputDimension, ...] = Field(max_length=16, strict=False)
    """Size of each dimension; -1 stands for any size, a symbol such as `rows` for any size that is
    the same in all inputs of a request that have the symbol."""
    content: Content = "text"
    """Content of BYTES: text in UTF-8, which components get as `str` and other bytes are refused
    for, or raw bytes, which components get as `bytes`. Content of UINT8: an image, of shape
    [height, width, channels] or with rows in front, which plain JSON takes as PNG or JPEG."""
    optional: bool = False
    """Whether a request may leave the input out; nodes that need an input that is not there are
    skipped."""

    @cached_property
    def tensor(self) -> TensorSpec:
        """The type of the tensor that components get; a symbol is -1 there."""
        sizes = tuple(-1 if isinstance(size, str) else size for size in self.shape)
        return TensorSpec(datatype=self.datatype, shape=sizes)

    def __str__(self) -> str:
        return f"{self.datatype}[{', '.join(map(str, self.shape))}]"


_OWN_FIELDS = {"CPU": "cpu", "GPU": "gpu", "memory": "memory", "object_store_memory": None}
"""Resources of Ray's own, and the fields that ask for them."""


def _refuse_own_resource(name: str) -> str:
    """Return the name of a custom resource; raise ValueError for one of Ray's own."""
    if name in _OWN_FIELDS:
        field = _OWN_FIELDS[name]
        raise ValueError(
            f"{name} is no custom resource; "
            + (f"ask for it in `{field}`" if field else "no node may ask for it")
        )
    return name


ResourceName = Annotated[
    str,
    Field(pattern=RESOURCE_NAME, json_schema_extra={"not": {"enum": sorted(_OWN_FIELDS)}}),
    AfterValidator(_refuse_own_resource),
]
Amount = Annotated[float, Field(ge=0.0001, le=1_000_000, allow_inf_nan=False)]


class Resources(Model):
    """Resources of each replica of the node; any of them gives the node a segment of its own."""

    cpu: Annotated[float, Field(ge=0, le=4096, allow_inf_nan=False)] | None = None
    """Logical CPUs, such as 0.5 or 2."""
    gpu: Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)] | None = None
    """GPUs, such as 0.5 or 1."""
    gpu_memory: Size | None = None
    """Most memory that the node takes of each GPU of ``gpu``, such as 10GiB."""
    memory: Size | None = None
    """Most memory of the replica, such as 2GiB; one that takes more is replaced."""
    accelerator: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Accelerator type as Ray names it, such as H100."""
    custom: Annotated[dict[ResourceName, Amount], Field(min_length=1, max_length=32)] | None = None
    """Custom resources of Ray, as name: amount, such as a licence or a device; amounts are
    fractions below 1, or whole numbers."""

    def amounts(self) -> dict[str, Any]:
        """Return what is asked for, by name; custom resources stand beside the others."""
        asked = self.model_dump(mode="json", exclude_none=True)
        custom: dict[str, float] = asked.pop("custom", {})
        return asked | custom


class Peak(Model):
    """A known peak of load: at least ``min`` replicas, from each time of ``cron`` on."""

    cron: Annotated[str, Field(min_length=1, max_length=128)]
    """Beginnings of the peak: minute, hour, day of the month, month, day of the week, such as
    `0 8 * * 1-5`."""
    for_: Duration = Field(alias="for")
    """Length of the peak."""
    min: Annotated[int, Field(ge=1, le=1000)]
    """Fewest replicas during the peak."""
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    """Name of the time zone of ``cron``, such as Europe/Berlin."""


class Scaling(Model):
    """Number of replicas: either ``replicas``, or autoscaling between ``min`` and ``max``."""

    replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """A fixed number of replicas."""
    min: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Fewest replicas; 0 scales to zero."""
    max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas."""
    target_ongoing: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    """Requests in progress per replica that autoscaling aims at."""
    upscale_delay: Duration | None = None
    """Time for which load must last before replicas are added."""
    downscale_delay: Duration | None = None
    """Time for which load must be low before replicas are removed."""
    max_queue: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Most requests that may wait for a replica; further requests are refused at once."""
    schedule: Annotated[list[Peak], Field(min_length=1, max_length=64)] | None = None
    """Known peaks, ahead of which ``min`` is raised."""


LabelKey = Annotated[str, Field(pattern=LABEL_KEY, max_length=253)]
LabelSelector = Annotated[str, Field(pattern=LABEL_SELECTOR, max_length=2048)]


class GraphPlacement(Model):
    """The machines of a graph's routers, and of the heads of its candidates."""

    labels: Annotated[dict[LabelKey, LabelSelector], Field(min_length=1, max_length=32)] | None = (
        None
    )
    """Labels that a machine must have in Ray, as key: value, `!value`, `in(a, b)` or
    `!in(a, b)`."""
    node_affinity: Annotated[str, Field(pattern=MACHINE)] | None = None
    """The only machine: its name, its address, or its id in Ray."""


class Placement(GraphPlacement):
    """The process and the machines of a node; all but ``with`` give it a process of its own."""

    isolate: bool | None = None
    """True puts the node in a process of its own."""
    with_: NodeName | None = Field(default=None, alias="with")
    """Ties the node to the segment of another node."""
    spread: Literal["node"] | None = None
    """Whether two replicas may share a machine: with `node`, each has one that no other replica of
    the segment is on. Replicas are spread over machines as far as that can be, if left out."""


class Batching(Model):
    """Gathers the rows of several requests into one call, along dimension 0."""

    max_size: Annotated[int, Field(ge=1, le=65_536)]
    """Most rows in a batch."""
    max_delay: Duration | None = None
    """Longest time for which a request is held for others to join it."""
    max_queue: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests that may wait in the queue; further requests are refused at once."""


class Caching(Model):
    """Answers that are kept, so that the same question is evaluated once."""

    ttl: Duration
    """Longest time for which an answer is given again."""
    size: Size = Size.parse("64MiB")
    """Most bytes of all answers that are kept, by the replicas of a machine together."""
    store: Literal["machine", "redis"] = "machine"
    """Place of the answers: a file of each ``machine``, or the ``redis`` of the whole engine, at
    ANABRANCH_CACHE_URL, which then bounds the size."""


class StandIn(Model):
    """The stand-in for the outputs of a failed node: exactly one of the fields."""

    use: Source | None = None
    """A graph input, a node, or node.output; it is evaluated only if this node fails."""
    value: Argument | None = None
    """A number, a text, or nested lists of them: the node's only output, of its declared type."""


class Triggers(Model):
    """Sources that must be there for a node to run, though it does not read them."""

    sources: Annotated[list[Source], Field(min_length=1, max_length=64)]
    """Graph inputs, nodes or ``node.output``."""
    quorum: Annotated[int, Field(ge=1, le=64)] | None = None
    """Fewest of the sources that must be there; all if left out."""


OptionalOutputs = Annotated[list[TensorName], Field(min_length=1, max_length=256)]
Quorum = Annotated[int, Field(ge=1, le=1000)]


class Multiplex(Model):
    """Many models of one kind in a few replicas, each loaded at its first request."""

    parameter: Annotated[str, Field(min_length=1, max_length=64)] = "model"
    """The request parameter that names the model."""
    max_loaded: Annotated[int, Field(ge=1, le=100_000)] = 16
    """Most models that a replica holds; the least recently used model is unloaded for a new one."""


class ModelWatch(Model):
    """A watched model: where it moves, the engine makes a revision with what it means then."""

    every: Duration | None = None
    """Time between two looks at the place of the model, 30s if left out."""


Watched: TypeAlias = Annotated[
    Annotated[bool, Tag(BOOL)] | Annotated[ModelWatch, Tag(MAP)],
    by_shape(BOOL, MAP, expected="must be true, false, or a map such as {every: 30s}"),
]


class KubernetesSecret(Model):
    """A key of a Kubernetes secret that is mounted where the node runs."""

    name: Annotated[str, Field(pattern=KUBERNETES_NAME)]
    """Name of the secret, and of the folder that it is mounted at."""
    key: Annotated[str, Field(pattern=KUBERNETES_KEY)]
    """Key in the secret: a file of the folder."""


class Secret(Model):
    """The source of a secret's value, where the node runs: exactly one of the fields."""

    env: Annotated[str, Field(pattern=VARIABLE)] | None = None
    """An environment variable of the engine's processes."""
    file: Annotated[str, Field(pattern=SECRET_FILE)] | None = None
    """Absolute path of a file; the end of its last line is left out."""
    kubernetes: KubernetesSecret | None = None
    """A key of a mounted Kubernetes secret."""


ContractName: TypeAlias = Literal["seldon", "mlserver"]
"""Contracts of components beside anabranch's own."""


class NodeBase(Model):
    """Fields common to nodes of every type."""

    component: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Your class: file.py:Class relative to the spec, or package.module:Class."""
    contract: ContractName | None = None
    """Contract that the component was written for: `seldon` (Seldon Core v1's Python wrapper) or
    `mlserver` (MLServer's `MLModel`); anabranch's own if left out."""
    args: dict[str, Argument] = {}
    """Keyword arguments of the component's constructor; with `contract: mlserver` the fields of
    `model-settings.json`."""
    env: dict[Variable, VariableValue] = {}
    """Environment variables of the node's process, as name: text; no secrets, for the spec is
    stored."""
    secrets: dict[Variable, Secret] = {}
    """Environment variables whose values are read where the node runs, and kept nowhere else."""
    outputs: dict[TensorName, TensorSpec] | None = None
    """Declared datatypes and shapes of the outputs; every result is checked against them."""
    triggers: Triggers | None = None
    """Sources without which the node is skipped; none if left out."""
    resources: Resources | None = None
    scaling: Scaling | None = None
    placement: Placement | None = None
    batching: Batching | None = None
    timeout: Duration | None = None
    """Longest time of one attempt."""
    idempotent: bool = False
    """Whether a second call of the node does no harm; only such nodes may have ``retries``."""
    deterministic: bool = False
    """Whether equal inputs and request parameters always give equal outputs, whatever the headers
    and the time are; only what is deterministic may have a ``cache``."""
    cache: Caching | None = None
    """Answers of the node that are kept; none if left out."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further attempts after a failed one, for nodes that are ``idempotent``."""
    on_error: Annotated[
        Annotated[Literal["fail", "skip"], Tag(TEXT)] | Annotated[StandIn, Tag(MAP)],
        by_shape(
            TEXT,
            MAP,
            expected="must be `fail`, `skip`, or a map such as {use: other-node} or {value: 0.0}",
        ),
    ] = "fail"
    """Action once every attempt has failed: `fail` the request, `skip` the node in the combiners
    that read it and have a ``quorum``, or a stand-in for its outputs."""


class Transformer(NodeBase):
    """Turns tensors into tensors: ``transform(**inputs)``."""

    type: Literal["transformer"]
    """Type of the node."""
    method: str | None = None
    """A built-in: scale, cast, rename, select, stack, split, softmax, argmax, threshold,
    require_success, lookup. Of a component with `contract: seldon`: `transform_input` (the
    default) or `transform_output`."""
    inputs: dict[ParameterName, Source] = Field(min_length=1)
    """Parameter: source."""
    quorum: Quorum | None = None
    """Fewest inputs with which the node goes on where others are not there; all if left out."""
    optional_outputs: OptionalOutputs | None = None
    """Outputs that the component may leave out of a result; nodes that need such an output are
    skipped."""


class Predictor(NodeBase):
    """A model: ``predict(**inputs)``."""

    type: Literal["predictor"]
    """Type of the node."""
    runtime: str | None = None
    """A built-in model runtime: sklearn, torch, onnx, xgboost, lightgbm, catboost, mlflow,
    huggingface, open_inference, rest, v1, seldon, openai, vllm."""
    model: Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)] | None = None
    """The model's file or folder: a path relative to the spec, or a URI."""
    multiplex: Multiplex | None = None
    """Many models in this node; ``model`` then holds `{model}` in place of the model's name."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """SHA-256 digest of the model's file; required by URI for formats that can run code."""
    watch: Watched = False
    """Whether a new revision is made when the model moves: an alias or a stage of MLflow's
    registry, or a file by URI."""
    method: str | None = None
    """Method of the model to call, such as predict_proba. Of a component with `contract: mlserver`:
    `predict` or `predict_stream`."""
    inputs: dict[ParameterName, Source] = Field(min_length=1)
    """Parameter: source."""
    quorum: Quorum | None = None
    """Fewest inputs with which the node goes on where others are not there; all if left out."""
    optional_outputs: OptionalOutputs | None = None
    """Outputs that the component, or the remote model, may leave out of a result; nodes that need
    such an output are skipped."""


class Combiner(NodeBase):
    """Joins tensors into one: ``combine(inputs)`` for a list, ``combine(**inputs)`` for a map."""

    type: Literal["combiner"]
    """Type of the node."""
    strategy: str | None = None
    """A built-in: mean, weighted_mean, vote, max, concat, first, object."""
    quorum: Quorum | None = None
    """Fewest inputs with which the combiner goes on where others are not there, or were left out
    by `on_error: skip`; all if left out."""
    optional_outputs: OptionalOutputs | None = None
    """Outputs that the component may leave out of a result; nodes that need such an output are
    skipped."""
    inputs: Annotated[
        Annotated[list[Source], Field(min_length=1), Tag(LIST)]
        | Annotated[dict[ParameterName, Source], Field(min_length=1), Tag(MAP)],
        by_shape(LIST, MAP, expected="must be a list of sources, or a map of parameter: source"),
    ]
    """A list of sources, in order; or a map of parameter: source."""


class Rule(Model):
    """A rule of a router node with the strategy ``rules``; the first rule that holds decides."""

    when: Condition
    """Condition in the Common Expression Language over ``request`` and ``inputs``."""
    to: NodeName
    """The node that is chosen where the condition holds."""


class Sticky(Model):
    """The sticky key, by which a client stays on one arm: exactly one of the fields."""

    header: Annotated[str, Field(pattern=HEADER_NAME)] | None = None
    """Name of the header that holds the key."""
    cookie: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name of the cookie that holds the key."""
    parameter: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name of the request parameter that holds the key."""


class RouterSticky(Sticky):
    """The sticky key, by which a client stays on one route: exactly one of the fields."""

    input: ParameterName | None = None
    """Name of the node's input that holds the key: BYTES or integers, all elements equal."""


class Router(NodeBase):
    """Chooses one of its routes, whose outputs become its own: ``route(**inputs)``."""

    type: Literal["router"]
    """Type of the node."""
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
    """The nodes to choose from; for ``weighted``, node: weight."""
    sticky: RouterSticky | None = None
    """Key by which a client stays on one route of ``weighted``; without it, or where a request has
    no key, each request is drawn by itself."""
    rules: Annotated[list[Rule], Field(min_length=1)] | None = None
    """Rules of the ``rules`` strategy; the first one that holds decides."""
    otherwise: NodeName | None = None
    """The route of the ``rules`` strategy for requests that no rule matches; without it they fail
    with 404."""
    broadcast: NodeName | None = None
    """The node that is chosen where a component's `route` returns `BROADCAST`: usually a combiner
    over the routes."""
    skip: NodeName | None = None
    """The node that is chosen where a component's `route` returns None: one that asks no route."""
    inputs: dict[ParameterName, Source] = {}
    """Parameter: source, for strategies and components that read tensors."""

    def targets(self) -> tuple[str, ...]:
        """Return the nodes that may be chosen, in the order of the spec, each once."""
        ruled = [rule.to for rule in self.rules or ()]
        last = [one for one in (self.otherwise, self.broadcast, self.skip) if one]
        return tuple(dict.fromkeys([*(self.routes or ()), *ruled, *last]))


class Explainer(NodeBase):
    """Explains the answers of a node or of the graph: ``explain(**inputs)``."""

    type: Literal["explainer"]
    """Type of the node."""
    explains: str | None = None
    """The explained node; the whole graph if left out."""
    method: str | None = None
    """A built-in, such as anchor_tabular."""
    model: Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)] | None = None
    """Folder of a fitted explainer: a path relative to the spec, or a URI."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """SHA-256 digest of the fitted explainer; required if it comes by URI."""
    watch: Watched = False
    """Whether a new revision is made when the fitted explainer moves: an alias or a stage of
    MLflow's registry."""
    data: Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)] | None = None
    """A sample on which the explainer is fitted at start: .npy, .npz or .csv."""
    inputs: dict[ParameterName, Source] = {}
    """Parameter: source; the inputs of the explained node or graph if left out."""
    colocate: bool | None = None
    """Whether the explainer calls a copy of the node in its own process; if left out, it does for
    nodes without a process of their own, and for methods that read the node's model."""
    sample: Percentage | None = None
    """Share of the traffic that is explained off the request path, such as 1%."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of all random draws of an explanation, unless the request has a ``seed``."""


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


class TrafficRule(Model):
    """A rule that sends requests to a revision, whatever the weights are."""

    when: Condition
    """Condition in the Common Expression Language over ``request``: headers, parameters, id."""
    to: Annotated[str, Field(pattern=TARGET)]
    """``stable``, ``candidate`` (the newest other arm; without one the rule does not hold), or a
    revision such as ``r7``."""


class Compare(Model):
    """Tolerances within which a mirror's answer counts as equal to the client's answer."""

    rtol: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1e-3
    """Relative tolerance of floating-point elements."""
    atol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-6
    """Absolute tolerance of floating-point elements."""


MAX_RULES = 64
"""Most traffic rules; each may be evaluated for every request."""


class Traffic(Model):
    """How requests are split between revisions.

    The newest revision that takes part in the traffic decides.
    """

    sticky: Sticky | None = None
    """Key by which a client stays on one arm; each request is drawn by itself if left out."""
    rules: Annotated[list[TrafficRule], Field(min_length=1, max_length=MAX_RULES)] | None = None
    """Rules, of which the first one that holds decides; other requests are split by ``sticky`` and
    the weights."""
    compare: Compare | None = None
    """Tolerances for the answers of mirrors."""
    grace: Duration | None = None
    """Time for which a replaced or aborted revision stays warm, for rollback at once; the engine's
    ANABRANCH_GRACE (10m) if left out."""


MetricName = Literal[
    "error_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "ttft_p50",
    "ttft_p95",
    "ttft_p99",
    "tokens_per_second",
    "agreement",
    "prediction_shift",
    "reward",
    "drift",
    "significance",
    "promql",
]
METRICS: tuple[str, ...] = get_args(MetricName)


class Metric(Model):
    """A metric of a rollout's analysis, with its limits."""

    metric: MetricName
    """The measured quantity of the candidate; agreement is that of its answers to copies with the
    clients' answers, reward the mean of its rewards, drift the highest score of its monitors,
    where above 1 is drift, and significance the evidence on its difference from the stable
    revision; ttft is the time to the first token of streams, and tokens_per_second the speed at
    which answers are generated."""
    max: Limit | None = None
    """Largest allowed value: a number, for latencies and ttft a duration, or a multiple of the
    stable revision's value such as 1.2x."""
    min: Limit | None = None
    """Smallest allowed value, in the forms of ``max``."""
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Query of the metric promql; $graph, $revision and $stable are filled in."""
    of: Literal["error_rate", "reward"] | None = None
    """Of the metric significance: the quantity whose difference, candidate minus stable, has the
    limit; rewards must be from 0 to 1."""
    error: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of the metric significance: largest probability that a candidate within the limit fails, and
    that one beyond the limit passes, over all looks of a rollout; 0.05 if left out."""


class Analysis(Model):
    """The rules by which a rollout's candidate is judged."""

    interval: Duration
    """Time between two looks at the metrics."""
    failure_limit: Annotated[int, Field(ge=0)] = 0
    """Failed looks at a metric that are tolerated; one more ends the rollout."""
    consecutive_error_limit: Annotated[int, Field(ge=0)] = 4
    """Errors in a row of a metric that are tolerated; one more ends the rollout."""
    min_samples: Annotated[int, Field(ge=1)] = 1
    """Samples of a metric, such as requests of the candidate or rewards, below which a look is
    inconclusive."""
    metrics: list[Metric] = Field(min_length=1)
    """Metrics and their limits; a look passes if all metrics pass."""


Approver: TypeAlias = Literal["deployer", "operator", "admin"]
"""Roles of those who may approve."""


class Approval(Model):
    """Approval by a person, for which a rollout waits before each step and its promotion."""

    role: Approver = "operator"
    """Role on the graph that the person must have."""
    other_than_author: bool = True
    """Whether the identity that has deployed the revision may not give it."""


class Rollout(Model):
    """How a new revision takes over from the stable revision, in steps."""

    steps: list[Percent] = Field(min_length=1)
    """Shares of the traffic in percent; after the last step the candidate is promoted."""
    hold: Duration | None = None
    """Shortest time of each step; one interval of the analysis if left out, and without an analysis
    until `rollout resume`."""
    analysis: Analysis | None = None
    """Rules by which the candidate is judged; without them, steps end by time or by hand."""
    mirror: Percent | None = None
    """Share of the traffic in percent that is copied to the candidate; 100 if left out and
    `agreement` is judged, else none."""
    webhooks: Annotated[list[Url], Field(min_length=1, max_length=8)] | None = None
    """URLs that are called with JSON at every transition; ANABRANCH_WEBHOOKS must allow each."""
    gate: Url | None = None
    """URL that is called before each further step; any reply but a 2xx pauses the rollout."""
    approve: Approval | None = None
    """A person who lets each further step begin, by `rollout approve`; nobody if left out."""


class Warmup(Model):
    """Requests that a replica with the head evaluates before it is ready."""

    requests: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of requests."""
    rows: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Size of each dimension that may have any size."""
    data: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """File with an inference request in JSON, relative to the spec; zeros if left out."""


class Reference(Model):
    """The data with which a monitor compares windows: either ``data`` or ``first``."""

    data: Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE)] | None = None
    """File with a sample of the watched tensors: .npy, .npz or .csv, relative to the spec."""
    first: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Number of rows: the first rows that the revision gets are the reference."""
    season: Duration | None = None
    """Length of a season, such as 24h: windows are compared with the same phase of it."""
    phases: Annotated[int, Field(ge=2, le=168)] | None = None
    """Number of phases in a season, 24 if left out; each gets ``first`` rows of its own."""


class Monitor(Model):
    """Watches tensors of a graph off the request path, and reports drift and outliers."""

    component: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Your class with ``score(**inputs)``, as for nodes; instead of ``method``."""
    method: str | None = None
    """A built-in: drift, ks, chi_square, psi, mahalanobis, isolation_forest, alibi_detect,
    sketch."""
    args: dict[str, Argument] = {}
    """Keyword arguments of the constructor of the class or the method."""
    watches: Annotated[list[Source], Field(min_length=1, max_length=64)] | None = None
    """Watched graph inputs, nodes or ``node.output``; all graph inputs if left out."""
    reference: Reference | None = None
    """Data with which windows are compared, for methods that compare."""
    window: Annotated[int, Field(ge=2, le=100_000)] = 200
    """Rows of a window."""
    sample: Percentage | None = None
    """Share of the requests that is monitored; all requests if left out."""


class RequestLog(Model):
    """The log of requests and replies, as CloudEvents: its share, destination and format."""

    sample: Percentage | None = None
    """Share of the requests that is logged; all requests if left out."""
    to: Annotated[str, Field(pattern=LOG_SINK, max_length=2048)] = "file"
    """Destination: ``file``, a folder of the engine; or a URL that ANABRANCH_REQUEST_LOGS allows:
    ``http(s)://host/path``, or ``kafka://host:port/topic``."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """Format of complete files; the file in progress is JSON lines."""
    redact: Annotated[list[TensorName], Field(min_length=1, max_length=256)] | None = None
    """Inputs or outputs, of the graph or of ``nodes``, of which only datatype and shape are logged;
    with any, messages of errors, which may quote them, are left out."""
    nodes: Annotated[list[Source], Field(min_length=1, max_length=256)] | None = None
    """Nodes, or outputs of nodes as ``node.output``, whose values are logged beside inputs and
    outputs, such as looked-up features; none if left out."""
    feedback: bool = False
    """Whether rewards that count are logged too, as events of their own."""
    max_tensor: Size | None = None
    """Largest logged tensor; of larger tensors only datatype and shape are logged; 64KiB if left
    out."""


class Telemetry(Model):
    """Traces and the request log of the graph."""

    trace: Percentage | None = None
    """Share of the requests without a traceparent that is traced; the engine's
    ANABRANCH_TRACE_RATIO if left out."""
    requests: RequestLog | None = None
    """Log of requests and replies; none if left out."""


class Serving(Model):
    """Where the graph's routers run and how they are reached; exactly one of the two fields."""

    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Port on which the graph's routers answer HTTP themselves, without the edge before them."""
    pool: PoolName | None = None
    """Pool of light graphs whose routers share a process."""


ProtocolName: TypeAlias = Literal["seldon", "v1", "openai", "json", "document"]
"""Protocols beside the Open Inference Protocol over which a graph may answer."""
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)


class Metadata(Model):
    """Name and labels of the graph."""

    name: GraphName
    """Name of the graph, or `namespace/name`; also the model name of the protocol."""
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=63)], Annotated[str, Field(max_length=253)]
    ] = {}
    """Labels for tools of yours; the engine does not read them."""


class Spec(Model):
    """The graph itself."""

    inputs: dict[TensorName, InputSpec] = Field(min_length=1)
    """Tensors that every request must carry, by name."""
    nodes: dict[NodeName, Node] = Field(min_length=1)
    """Nodes by name."""
    outputs: dict[TensorName, Source] = Field(min_length=1)
    """Output tensor: source."""
    timeout: Duration | None = None
    """Longest time of a request; 60s if left out."""
    scaling: Scaling | None = None
    """Number of routers, each with the nodes of the head inside; one router if left out."""
    placement: GraphPlacement | None = None
    """Machines of the routers; any if left out."""
    warmup: Warmup | None = None
    """Requests that a router evaluates before its first request."""
    cache: Caching | None = None
    """Answers of the graph that are kept, for each revision its own; none if left out."""
    traffic: Traffic | None = None
    """How requests are split between revisions."""
    rollout: Rollout | None = None
    """How a new revision takes over; at once if left out."""
    monitors: Annotated[dict[NodeName, Monitor], Field(max_length=32)] | None = None
    """Monitors by name."""
    telemetry: Telemetry | None = None
    """Traces and the request log."""
    serving: Serving | None = None
    """A port of the graph's own."""
    protocols: Annotated[list[ProtocolName], Field(min_length=1, max_length=8)] | None = None
    """Protocols over which the graph answers beside the Open Inference Protocol: `seldon` (Seldon
    Core v1), `v1` (KServe's and TensorFlow Serving's V1), `openai`, `json` (named values in
    plain JSON), and `document` (the body is the only input)."""


class InferenceGraph(Model):
    """A whole document: a graph with its name and its spec."""

    apiVersion: Literal["anabranch/v1"]
    """Version of the language."""
    kind: Literal["InferenceGraph"]
    """Kind of the document."""
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """Name of the graph."""
        return self.metadata.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data without defaults; ``model_validate`` reads it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
