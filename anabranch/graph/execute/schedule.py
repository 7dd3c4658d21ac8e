"""From a set of wanted vertices to a list of steps."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from anabranch.components.contract import BROADCAST, Bound
from anabranch.errors import NodeError
from anabranch.graph.calls.counts import Counts, NodeCounts
from anabranch.graph.calls.lanes import Lane, Lanes
from anabranch.graph.calls.values import (
    Convert,
    accessor,
    finisher,
    identity,
    protect,
    route_converter,
)
from anabranch.graph.execute.absence import GatedStep, TriggerGate
from anabranch.graph.execute.batched import BatchedStep, lane_of
from anabranch.graph.execute.cached import NO_CACHES, CachedNode, CachedStep, Caches
from anabranch.graph.execute.invoke import invoker, joining, refusing
from anabranch.graph.execute.policy import Notice
from anabranch.graph.execute.quorum import quorum_invoker
from anabranch.graph.execute.recovery import Policies, routes_of
from anabranch.graph.execute.run import Schedule, Step
from anabranch.graph.execute.steps import Branch, Invoke, JoinStep, NodeStep, RemoteStep
from anabranch.graph.plan.plan import PlannedNode, Ref
from anabranch.graph.plan.vertices import Vertices, pick_of, vertex_of
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Router


@dataclass(frozen=True)
class Unit:
    """Vertices that are evaluated by one step: one vertex here, or several in another segment."""

    vertices: tuple[str, ...]
    home: str | None


def closure(vertices: Vertices, wants: Iterable[str], given: Collection[str]) -> set[str]:
    """All that ``wants`` need without condition, beyond what is given."""
    found: set[str] = set()
    stack = [name for name in wants if name not in given]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [need for need in vertices.needs[name] if need not in given]
    return found


def units(vertices: Vertices, needed: Collection[str]) -> list[Unit]:
    """Needed vertices of the same other segment are fetched together."""
    away: dict[str, list[str]] = {}
    found = []
    for name in sorted(needed, key=vertices.slots.__getitem__):
        home = vertices.home.get(name)
        if home is None:
            found.append(Unit((name,), None))
        else:
            away.setdefault(home, []).append(name)
    return found + [Unit(tuple(names), home) for home, names in away.items()]


def ordered(vertices: Vertices, parts: list[Unit], given: Collection[str]) -> list[Unit]:
    """Topological order in which what leaves the process starts as early as it can."""
    unit_of = {name: index for index, unit in enumerate(parts) for name in unit.vertices}
    needs = [
        {
            unit_of[need]
            for name in unit.vertices
            for need in vertices.needs[name]
            if need in unit_of
        }
        - {index}
        for index, unit in enumerate(parts)
    ]
    away = [name for unit in parts if unit.home for name in unit.vertices]
    urgent = closure(vertices, away, given)
    followers: list[list[int]] = [[] for _ in parts]
    for index, sources in enumerate(needs):
        for source in sources:
            followers[source].append(index)

    def rank(index: int) -> tuple[int, int]:
        unit = parts[index]
        return (0 if unit.home else 1 if unit.vertices[0] in urgent else 2, index)

    waiting = [len(sources) for sources in needs]
    ready = [rank(index) for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, index = heapq.heappop(ready)
        order.append(parts[index])
        for follower in followers[index]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, rank(follower))
    return order


class StepFactory:
    """Builds steps; those of nodes are built once and shared by all schedules."""

    def __init__(
        self,
        vertices: Vertices,
        bound: Mapping[str, Bound],
        calls: Mapping[str, Any],
        lanes: Lanes,
        lazily: Callable[[str], Schedule],
        notice: Notice,
        counts: Counts | None = None,
        caches: Caches = NO_CACHES,
    ) -> None:
        self._vertices = vertices
        self._bound = bound
        self._caches = caches
        self._calls = calls
        self._lazily = lazily
        self.counts = counts
        self.lanes = {
            name: lane_of(each, lanes, vertices.plan.nodes[name].spec)
            for name, each in bound.items()
        }
        self._built: dict[str, Step] = {}
        self._policies = Policies(vertices, notice, lazily, self._access)
        self.guarded = any(
            name in caches or self._policies.of_node(vertices.node(name)) for name in bound
        )
        """Whether anything is to be done around the calls of a node of this process."""

    def build(self, unit: Unit, wants: Collection[str], needed: Collection[str]) -> Step:
        """The step of a unit, in a schedule for ``wants`` that evaluates ``needed``."""
        if unit.home is not None:
            return self._remote(unit, wants, needed)
        name = unit.vertices[0]
        if name not in self._built:
            self._built[name] = self._local(name)
        return self._built[name]

    def _local(self, vertex: str) -> Step:
        node = self._vertices.node(vertex)
        if node.type == "router" and vertex == node.name:
            return self._join(node)
        slots, bound = self._vertices.slots, self._bound[node.name]
        policy, cache = self._policies.of_node(node), self._caches.get(vertex)
        needs = [slots[vertex_of(ref)] for ref in node.inputs.values()]
        common: dict[str, Any] = {
            "slot": slots[vertex],
            "needs": needs,
            "finish": self._finish(node, vertex),
            "lane": self.lanes[node.name],
            "policy": policy if cache is None else None,
            "about": self._about(node),
            "counts": self.node_counts(node.name),
        }
        step: NodeStep | CachedStep
        if node.spec.batching is not None:
            step = BatchedStep(bound, node.spec, self._parameters(node), **common)
        else:
            step = NodeStep(invoke=self._whole(node, bound), **common)
        if cache is not None:
            shape = protect if self._vertices.shared(vertex) else identity
            cached = CachedNode(cache, self._parameters(node), bound.wants_context, shape)
            step = CachedStep(step, cached, needs, policy)
        gated = node.is_conditional and self._vertices.gates(node)
        return GatedStep(self._gate(node), step) if gated else step

    def _gate(self, node: PlannedNode) -> TriggerGate:
        return TriggerGate.of(
            node, lambda ref: (self._vertices.slots[vertex_of(ref)], self._access(ref))
        )

    def _whole(self, node: PlannedNode, bound: Bound) -> Invoke:
        """How a node gives one answer, whether or not it streams."""
        if not bound.is_stream:
            return self._invoke(node)
        if bound.join is None:
            return refusing(node.name)
        return joining(node.name, self._invoke(node), bound.join)

    def _about(self, node: PlannedNode) -> Mapping[str, str]:
        """Return the attributes that identify a node in traces."""
        return {
            "anabranch.graph": self._vertices.plan.name,
            "anabranch.node": node.name,
            "anabranch.node.type": node.type,
        }

    def node_counts(self, name: str) -> NodeCounts | None:
        """Return the counts of a node; None if nothing is counted."""
        return None if self.counts is None else self.counts.node(name)

    def source(self, name: str) -> tuple[Invoke, Convert, Lane]:
        """How a node that streams is called, how what it yields becomes its value, and its lane."""
        node = self._vertices.node(name)
        return self._invoke(node), self._finish(node, name), self.lanes[name]

    def _invoke(self, node: PlannedNode) -> Invoke:
        bound, parameters = self._bound[node.name], self._parameters(node)
        if getattr(node.spec, "quorum", None) is not None:
            return quorum_invoker(node, bound, parameters)
        return invoker(bound, parameters, node.listed)

    def _parameters(self, node: PlannedNode) -> list[tuple[str, int, Convert]]:
        return [
            (key, self._vertices.slots[vertex_of(ref)], self._access(ref))
            for key, ref in node.inputs.items()
        ]

    def _access(self, ref: Ref) -> Convert:
        return identity if ref.node is None else accessor(self._vertices.plan.nodes[ref.node], ref)

    def _finish(self, node: PlannedNode, vertex: str) -> Convert:
        if node.type == "router":
            return _check_route(node)
        finish = finisher(node)
        if not self._vertices.shared(vertex):
            return finish
        return lambda value: protect(finish(value))

    def _join(self, node: PlannedNode) -> JoinStep:
        nodes, slots = self._vertices.plan.nodes, self._vertices.slots
        branches = {
            route: Branch(slots[route], self._lazily(route), route_converter(node, nodes[route]))
            for route in node.routes
        }
        for key, other in routes_of(self._policies, node).items():
            branches[key] = Branch(other.slot, other.schedule, other.access)
        slot, pick = slots[node.name], slots[pick_of(node.name)]
        return JoinStep(node.name, slot, pick, branches, self.counts)

    def _remote(self, unit: Unit, wants: Collection[str], needed: Collection[str]) -> RemoteStep:
        """One call for those vertices of the unit that anything outside the segment reads.

        Where branches are taken on condition, a later one may read what this call computes on the
        way, so all that may ever be read outside is brought back: no node runs twice.
        """
        vertices, inside = self._vertices, set(unit.vertices)
        outside = set(wants).union(*(vertices.needs[name] for name in needed if name not in inside))
        outside |= vertices.read_on_condition
        segment = vertices.plan.segment(str(unit.home))
        alone = vertices.plan.nodes[segment.nodes[0]] if len(segment.nodes) == 1 else None
        needs = vertices.needs if alone is None else vertices.reads
        sources = dict.fromkeys(
            need for name in unit.vertices for need in needs[name] if need not in inside
        )
        asked = [name for name in unit.vertices if name in outside]
        return RemoteStep(
            call=self._calls[str(unit.home)],
            wants={name: vertices.slots[name] for name in asked},
            needs={name: vertices.slots[name] for name in sources},
            policy=self._policies.of_segment(str(unit.home)),
            gate=self._gate(alone) if alone is not None and alone.is_conditional else None,
        )


def _check_route(node: PlannedNode) -> Convert:
    routes = frozenset(node.routes)
    spec = cast(Router, node.spec)
    others: dict[str | None, tuple[str, str | None]] = {
        BROADCAST: ("broadcast", spec.broadcast),
        None: ("skip", spec.skip),
    }

    def check(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value == BROADCAST):
            field, target = others[value]
            if target is None:
                given = "BROADCAST" if value else "None"
                raise NodeError(node.name, f"it returned {given}, and its spec has no `{field}`")
            return target
        if isinstance(value, str) and value in routes:
            return value
        given = repr(value)[:80]
        raise NodeError(node.name, f"it picked {given}" + hint(str(value)[:80], sorted(routes)))

    return check
