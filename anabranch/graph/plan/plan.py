"""The plan: the compiled graph, complete before the first request.

A plan is an immutable value. It holds the resolved graph (nodes, their sources, their types), the
segments, and the order of evaluation. Executors and replicas of Ray Serve read only the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

from anabranch.errors import Problem
from anabranch.graph.plan.drawing import DrawnArrow, DrawnBox, svg
from anabranch.specs.models import (
    Caching,
    InputSpec,
    Monitor,
    NodeBase,
    Placement,
    ProtocolName,
    Resources,
    Scaling,
    Telemetry,
    TensorSpec,
)
from anabranch.specs.shared.reference import SharedReference

DEFAULT_TIMEOUT = 60.0
"""Longest time that a request may take where the spec does not say, in seconds."""
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
    triggers: tuple[Ref, ...] = ()
    optional: frozenset[str] = frozenset()
    """Outputs that a result of the node may lack."""
    is_conditional: bool = False
    """Whether the node is skipped in some requests, for want of a value that it needs."""


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
    placement: Placement | None = None
    """The machines that its replicas may be on; any where it is None."""
    model: SharedReference | None = None
    """The shared model that evaluates its only node, in processes of the model's own."""


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
    protocols: tuple[ProtocolName, ...] = ()
    """Protocols over which the graph answers, beside the Open Inference Protocol."""
    broadcasts: Mapping[str, str] = field(default_factory=dict)
    """The node that stands for all routes, by router node; it is among the routes."""
    skips: Mapping[str, str] = field(default_factory=dict)
    """The node that stands for none of the routes, likewise."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The node of each output, or the input."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The node or input whose columns a node's output has, if it names none: its first source.

    Predictors have columns of their own, routers those of the route."""
    optional_outputs: frozenset[str] = frozenset()
    """Outputs that are absent from the answers to some requests."""


@dataclass(frozen=True, repr=False)
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
    recorded: Mapping[str, Ref] = field(default_factory=dict)
    """Values of nodes for the request log, by ``node.output``."""
    port: int | None = None
    """The graph's own port, at which routers answer without the edge."""
    pool: str | None = None
    """The pool whose process the graph's router shares with others."""
    protocols: tuple[ProtocolName, ...] = ()
    """Protocols over which the graph answers, beside the Open Inference Protocol."""
    is_model: bool = False
    """Whether it is a shared model, which other graphs may use."""
    cache: Caching | None = None
    """The cache of the whole graph's answers."""

    @cached_property
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
            self.protocols,
            self._stand_ins("broadcast"),
            self._stand_ins("skip"),
            {name: ref.node or str(ref.output) for name, ref in self.outputs.items()},
            {name: ref.node or str(ref.output) for name, ref in self._first_sources()},
            frozenset(
                name
                for name, ref in self.outputs.items()
                if may_be_absent(self.inputs, self.nodes, ref)
            ),
        )

    def _first_sources(self) -> Iterator[tuple[str, Ref]]:
        for name, node in self.nodes.items():
            if node.type in ("transformer", "combiner") and node.inputs:
                yield name, next(iter(node.inputs.values()))

    def _stand_ins(self, field: str) -> dict[str, str]:
        """Return the nodes that a field of the router nodes names."""
        routers = {name: node.spec for name, node in self.nodes.items() if node.type == "router"}
        return {name: one for name, spec in routers.items() if (one := getattr(spec, field))}

    @property
    def head(self) -> Segment:
        """The segment that runs inside the router."""
        return self.segments[0]

    @property
    def own_segments(self) -> tuple[Segment, ...]:
        """The segments that run in processes of the graph's own, the head first."""
        return tuple(segment for segment in self.segments if segment.model is None)

    @property
    def models(self) -> frozenset[SharedReference]:
        """The shared models that the graph uses."""
        return frozenset(segment.model for segment in self.segments if segment.model is not None)

    def type_of(self, ref: Ref) -> TensorSpec | None:
        """Return the type of a resolved source; None if it is unknown."""
        return source_type(self.inputs, self.nodes, ref)

    @property
    def edges(self) -> tuple[DrawnArrow, ...]:
        """What leads to what: ``in_<input>``, ``node_<node>`` and ``out_<output>``."""
        nodes = [edge for node in self.nodes.values() for edge in _edges(node)]
        outputs = [DrawnArrow(_end(ref), f"out_{name}") for name, ref in self.outputs.items()]
        return (*nodes, *outputs)

    def drawing(self, by_segment: bool = True) -> str:
        """Return an SVG drawing, in which colours stand for segments, or else for node types."""
        homes = {name: at for at, part in enumerate(self.segments) for name in part.nodes}
        boxes = {
            f"in_{name}": DrawnBox(name, str(spec), _TENSOR, is_round=True)
            for name, spec in self.inputs.items()
        }
        for name, node in self.nodes.items():
            colour = _SEGMENTS[homes[name] % len(_SEGMENTS)] if by_segment else _TYPES[node.type]
            boxes[f"node_{name}"] = DrawnBox(name, _detail(node), colour)
        for name, found in self.output_types.items():
            boxes[f"out_{name}"] = DrawnBox(name, str(found or ""), _TENSOR, is_round=True)
        return svg(boxes, self.edges, self.name)

    def __repr__(self) -> str:
        parts = [f"{part.name}: {', '.join(part.nodes) or '-'}" for part in self.segments]
        return "\n  ".join([f"Plan of {self.name!r}, {hops_text(self)}", *parts])

    def _repr_html_(self) -> str:
        """Return the drawing and the segments, as a notebook shows them."""
        rows = "".join(_segment_row(at, part) for at, part in enumerate(self.segments))
        return (
            f"<div><b>{escape(self.name)}</b>: {hops_text(self)}</div>{self.drawing()}"
            f"<table><tr><th>segment</th><th>nodes</th><th>resources</th></tr>{rows}</table>"
        )

    def segment(self, name: str) -> Segment:
        """Return the segment of a name; raise KeyError for an unknown name."""
        return {segment.name: segment for segment in self.segments}[name]


def source_type(
    inputs: Mapping[str, InputSpec], nodes: Mapping[str, PlannedNode], ref: Ref
) -> TensorSpec | None:
    """Return the type of a resolved source; None if it is unknown."""
    if ref.node is None:
        found = inputs.get(str(ref.output))
        return None if found is None else found.tensor
    outputs = nodes[ref.node].outputs if ref.node in nodes else None
    if outputs is None:
        return None
    if ref.output is None:
        return next(iter(outputs.values())) if len(outputs) == 1 else None
    return outputs.get(ref.output)


def may_be_absent(
    inputs: Mapping[str, InputSpec], nodes: Mapping[str, PlannedNode], ref: Ref
) -> bool:
    """Return whether a source is absent in some requests; the nodes before it are marked."""
    if ref.node is None:
        return str(ref.output) in inputs and inputs[str(ref.output)].optional
    node = nodes.get(ref.node)
    if node is None:
        return False
    return node.is_conditional or may_leave_out(node, ref)


def may_leave_out(node: PlannedNode, ref: Ref) -> bool:
    """Return whether a result of the node may lack the output that a source names."""
    return ref.output in node.optional or (ref.output is None and bool(node.optional))


def hops_text(plan: Plan) -> str:
    """Return the numbers of segments and hops in words."""
    count, hops = len(plan.segments), plan.critical_path_hops
    return (
        f"{count} segment{'' if count == 1 else 's'}, {hops} hop{'' if hops == 1 else 's'} on the "
        "critical path"
    )


_TENSOR = "#ffffff"
_TYPES = {
    "transformer": "#ddf4ff",
    "predictor": "#dafbe1",
    "combiner": "#fff8c5",
    "router": "#fbefff",
    "explainer": "#ffeff7",
}
_SEGMENTS = ("#ddf4ff", "#dafbe1", "#fff8c5", "#fbefff", "#ffeff7", "#fff1e5", "#eaeef2")


def _edges(node: PlannedNode) -> Iterator[DrawnArrow]:
    own = f"node_{node.name}"
    for key, ref in node.inputs.items():
        yield DrawnArrow(_end(ref), own, "" if node.listed else key)
    for route in node.routes:
        yield DrawnArrow(f"node_{route}", own, is_dotted=True)
    explains = getattr(node.spec, "explains", None)
    if explains is not None:
        yield DrawnArrow(f"node_{explains}", own, "explained by", is_dotted=True)
    for trigger in node.triggers:
        yield DrawnArrow(_end(trigger), own, "triggers", is_dotted=True)
    if node.fallback is not None:
        yield DrawnArrow(_end(node.fallback), own, "on error", is_dotted=True)


def _end(ref: Ref) -> str:
    return f"in_{ref.output}" if ref.node is None else f"node_{ref.node}"


def _detail(node: PlannedNode) -> str:
    """Return the type of a node, and its code."""
    fields = ("component", "method", "runtime", "strategy")
    code = next((str(one) for name in fields if (one := getattr(node.spec, name, None))), "")
    return f"{node.type} {code}".rstrip()


def _segment_row(at: int, part: Segment) -> str:
    asked = {} if part.resources is None else part.resources.amounts()
    resources = ", ".join(f"{name} {value}" for name, value in asked.items()) or "-"
    style = f"background:{_SEGMENTS[at % len(_SEGMENTS)]};color:#1f2328"
    cells = (part.name, ", ".join(part.nodes) or "-", resources)
    return f'<tr style="{style}">{"".join(f"<td>{escape(one)}</td>" for one in cells)}</tr>'


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
