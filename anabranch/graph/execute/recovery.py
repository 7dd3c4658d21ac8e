"""Which policy each node and each call to another segment has, as seen from one process.

The process that orchestrates a graph judges its own nodes and whole calls to other segments. In a
segment of one node nothing is left to do then. Where several nodes share a segment, each has its
own ``timeout`` there; it is retried there only where the caller cannot do so, because calling the
segment again would call a node that is not idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from anabranch.graph.calls.values import Convert, Skipped
from anabranch.graph.execute.policy import (
    ConstantStandIn,
    FallbackStandIn,
    NamedStandIn,
    NodeStandIn,
    Notice,
    RecoveryPolicy,
    SkipStandIn,
)
from anabranch.graph.execute.run import Frame, Schedule
from anabranch.graph.plan.constants import constant
from anabranch.graph.plan.plan import PlannedNode, Ref, Segment
from anabranch.graph.plan.vertices import Vertices, pick_of, vertex_of
from anabranch.specs.models import NodeBase, StandIn

STAND_IN = "#on_error"
"""Pick of a router node that could not decide: no node can have this name."""


class Policies:
    """The policies of a plan, each built once, so that all requests share its budget."""

    def __init__(
        self,
        vertices: Vertices,
        notice: Notice,
        lazily: Callable[[str], Schedule],
        access: Callable[[Ref], Convert],
    ) -> None:
        self._vertices = vertices
        self._notice = notice
        self._lazily = lazily
        self._access = access
        self._segments = {name: part for part in vertices.plan.segments for name in part.nodes}
        self._of_nodes: dict[str, RecoveryPolicy | None] = {}
        self._of_segments: dict[str, RecoveryPolicy | None] = {}

    def of_node(self, node: PlannedNode) -> RecoveryPolicy | None:
        """The policy of a node that runs in this process."""
        if node.name not in self._of_nodes:
            self._of_nodes[node.name] = self._node_policy(node)
        return self._of_nodes[node.name]

    def of_segment(self, name: str) -> RecoveryPolicy | None:
        """The policy of calls to another segment."""
        if name not in self._of_segments:
            self._of_segments[name] = self._call_policy(self._vertices.plan.segment(name))
        return self._of_segments[name]

    def fallback(self, node: PlannedNode, ref: Ref) -> FallbackStandIn:
        """Another source in place of the node's value."""
        vertex = vertex_of(ref)
        return FallbackStandIn(
            self._vertices.slots[vertex], self._lazily(vertex), self._access(ref)
        )

    def _node_policy(self, node: PlannedNode) -> RecoveryPolicy | None:
        spec, segment = node.spec, self._segments[node.name]
        if self._vertices.orchestrates:
            return self._policy(node.name, spec.retries, spec, self._stand_in(node))
        if len(segment.nodes) == 1:
            return None
        return self._policy(node.name, 0 if self._again(segment) else spec.retries, spec, None)

    def _call_policy(self, segment: Segment) -> RecoveryPolicy | None:
        if len(segment.nodes) > 1:
            return self._policy(segment.name, self._again(segment), NodeBase(), None)
        node = self._vertices.plan.nodes[segment.name]
        stand_in = self._stand_in(node)
        vertex = pick_of(node.name) if node.type == "router" else node.name
        named = NamedStandIn(vertex, stand_in) if stand_in is not None else None
        return self._policy(node.name, self._again(segment), node.spec, named)

    def _policy(
        self, name: str, retries: int, spec: NodeBase, stand_in: NodeStandIn | None
    ) -> RecoveryPolicy | None:
        if not retries and spec.timeout is None and stand_in is None:
            return None
        return RecoveryPolicy(name, self._notice, retries, spec.timeout, stand_in)

    def _again(self, segment: Segment) -> int:
        """How often a call to a segment may be repeated, which repeats all that it evaluates."""
        specs = [self._vertices.plan.nodes[name].spec for name in segment.nodes]
        return max(spec.retries for spec in specs) if all(s.idempotent for s in specs) else 0

    def _stand_in(self, node: PlannedNode) -> NodeStandIn | None:
        if node.spec.on_error == "skip":
            return SkipStandIn()
        if isinstance(node.spec.on_error, StandIn) and node.spec.on_error.value is not None:
            return self._constant(node, node.spec.on_error.value)
        if node.fallback is None:
            return None
        if node.type == "router":
            return ConstantStandIn(lambda frame: STAND_IN)
        return self.fallback(node, node.fallback)

    def _constant(self, node: PlannedNode, value: object) -> ConstantStandIn:
        """The compiler has checked that the node has one output, and its type."""
        (spec,) = (node.outputs or {}).values()
        assert spec is not None
        found = constant(value, spec)
        reads = [
            (self._vertices.slots[vertex_of(ref)], self._access(ref))
            for ref in node.inputs.values()
        ]
        return ConstantStandIn(lambda frame: found.of_rows(_rows(frame, reads)))


def _rows(frame: Frame, reads: Sequence[tuple[int, Convert]]) -> int:
    """Rows of the first input that is there."""
    for slot, access in reads:
        value = access(frame[slot])
        if not isinstance(value, Skipped):
            shape: tuple[int, ...] = value.shape
            return shape[0] if shape else 1
    return 1


def routes_of(policies: Policies, node: PlannedNode) -> Mapping[str, FallbackStandIn]:
    """Return the stand-in of a router node that could not decide, by its pick; empty if none."""
    return {} if node.fallback is None else {STAND_IN: policies.fallback(node, node.fallback)}
