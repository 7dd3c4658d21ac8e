"""The plan: the compiled graph, complete before the first request.

A plan is an immutable value. It holds the resolved graph (nodes, their sources, their types), the
segments, and the order of evaluation. Executors and replicas of Ray Serve read only the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anabranch.errors import Problem
from anabranch.specs.models import (
    InputSpec,
    Monitor,
    NodeBase,
    Resources,
    Scaling,
    Telemetry,
    TensorSpec,
)

EXPLAIN_TIMEOUT_S = 60.0
"""Default of an explainer's ``timeout``, in seconds."""
MONITORS = "monitors"
"""Name of the deployment in which all monitors of a revision run."""
HEAD = "head"
"""Name of the segment that holds the graph's entry and runs inside the router."""


@dataclass(frozen=True)
class Ref:
    """A resolved source: a graph input (``node`` is None), or one output of a node.

    ``output`` is None for the only output of a node, whatever its name.
    """

    node: str | None
    output: str | None

    def __str__(self) -> str:
        if self.node is None:
            return str(self.output)
        return self.node if self.output is None else f"{self.node}.{self.output}"


@dataclass(frozen=True)
class PlannedNode:
    """A node with its sources resolved.

    ``inputs`` keeps the order of the spec; for a combiner over a list the keys are "0", "1", …
    and ``listed`` is True. ``routes`` is empty for all but router nodes. ``outputs`` is None where
    not even the names of the outputs are known.
    """

    name: str
    spec: NodeBase
    type: str
    inputs: Mapping[str, Ref]
    listed: bool
    routes: tuple[str, ...]
    fallback: Ref | None
    outputs: Mapping[str, TensorSpec | None] | None


@dataclass(frozen=True)
class PlannedMonitor:
    """A monitor with its watched sources resolved, by their text in the spec."""

    name: str
    spec: Monitor
    watches: Mapping[str, Ref]


@dataclass(frozen=True)
class Segment:
    """Nodes that run in one process, in order of evaluation."""

    name: str
    nodes: tuple[str, ...]
    resources: Resources | None = None
    scaling: Scaling | None = None


@dataclass(frozen=True)
class ExplainerTerms:
    """The bounds of an explainer that routers need."""

    timeout: float
    """Longest time of an explanation, in seconds."""
    share: float = 0.0
    """Share of the traffic that is explained, 0 to 1."""


@dataclass(frozen=True)
class Signature:
    """The inputs, outputs, explainers and timeout of a plan: all that a router needs of it.

    ``outputs`` holds None for an output of unknown type; ``timeout`` is in seconds.
    """

    inputs: Mapping[str, InputSpec]
    outputs: Mapping[str, TensorSpec | None]
    timeout: float
    explainers: Mapping[str, ExplainerTerms] = field(default_factory=dict)
    routers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Router nodes, and the routes of each."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    """Traces and the request log of the graph."""
    idempotent: bool = False
    """Whether a second evaluation of a request does no harm."""


@dataclass(frozen=True)
class Plan:
    """A compiled graph. ``segments[0]`` is the head. ``nodes`` is in order of evaluation."""

    name: str
    inputs: Mapping[str, InputSpec]
    nodes: Mapping[str, PlannedNode]
    outputs: Mapping[str, Ref]
    output_types: Mapping[str, TensorSpec | None]
    segments: tuple[Segment, ...]
    critical_path_hops: int
    timeout: float
    """Longest time of a request, in seconds."""
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    telemetry: Telemetry = field(default_factory=Telemetry)
    monitors: Mapping[str, PlannedMonitor] = field(default_factory=dict)
    port: int | None = None
    """The graph's own port, at which routers answer without the edge."""
    pool: str | None = None
    """The pool whose process the graph's router shares with others."""

    @property
    def signature(self) -> Signature:
        """The signature of requests and replies."""
        return Signature(
            self.inputs,
            self.output_types,
            self.timeout,
            {name: _terms(node.spec) for name, node in self.nodes.items() if _explains(node)},
            {name: node.routes for name, node in self.nodes.items() if node.type == "router"},
            self.telemetry,
            all(_may_repeat(node) for node in self.nodes.values()),
        )

    @property
    def head(self) -> Segment:
        """The segment that runs inside the router."""
        return self.segments[0]

    def type_of(self, ref: Ref) -> TensorSpec | None:
        """Return the type of a resolved source; None if it is unknown."""
        if ref.node is None:
            found = self.inputs.get(str(ref.output))
            return None if found is None else found.tensor
        outputs = self.nodes[ref.node].outputs if ref.node in self.nodes else None
        if outputs is None:
            return None
        if ref.output is None:
            return next(iter(outputs.values())) if len(outputs) == 1 else None
        return outputs.get(ref.output)

    def segment(self, name: str) -> Segment:
        """Return the segment of a name; raise KeyError for an unknown name."""
        return {segment.name: segment for segment in self.segments}[name]


def _may_repeat(node: PlannedNode) -> bool:
    """Whether a second call of a node does no harm: it says so, or it runs none but our code."""
    ours = node.type != "predictor" and node.spec.component is None
    return node.spec.idempotent or ours or _explains(node)


def _explains(node: PlannedNode) -> bool:
    return node.type == "explainer"


def _terms(spec: NodeBase) -> ExplainerTerms:
    timeout, sample = spec.timeout, getattr(spec, "sample", None)
    return ExplainerTerms(
        EXPLAIN_TIMEOUT_S if timeout is None else timeout.seconds,
        0.0 if sample is None else sample.share,
    )
