"""Vertices of a plan, as an evaluator sees them: the home of each, and its needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from anabranch.graph.plan.plan import Plan, PlannedNode, Ref
from anabranch.specs.shared.reference import shared_reference


def vertex_of(ref: Ref) -> str:
    """The vertex that a reference reads: a graph input or a node."""
    return str(ref.output) if ref.node is None else ref.node


def is_here(plan: Plan, ref: Ref, here: Collection[str], orchestrates: bool) -> bool:
    """Whether a process has the value.

    Inputs, what routers give, and what shared models give are where the graph begins.
    """
    if ref.node is None or plan.nodes[ref.node].type == "router":
        return orchestrates
    if shared_reference(plan.nodes[ref.node].spec) is not None:
        return orchestrates
    return ref.node in here


class Vertices:
    """Slots, needs and homes of all vertices, as seen from one process.

    ``needs`` holds what a vertex needs without condition; what a join needs beyond its pick depends
    on the pick. ``reads`` holds the vertices among them whose values it reads. ``home`` names the
    segment of vertices that are reached by a call. Only a process that ``orchestrates`` the graph
    can take stand-ins for failed nodes.
    """

    def __init__(
        self, plan: Plan, local: Collection[str], called: Collection[str], orchestrates: bool
    ) -> None:
        self.plan = plan
        self.orchestrates = orchestrates
        self.inputs = frozenset(plan.inputs)
        self.needs: dict[str, tuple[str, ...]] = dict.fromkeys(plan.inputs, ())
        self.reads: dict[str, tuple[str, ...]] = {}
        self.home: dict[str, str] = {}
        segment_of = {node: part.name for part in plan.segments for node in part.nodes}
        self._alone = {part.nodes[0] for part in plan.segments if len(part.nodes) == 1}
        for node in plan.nodes.values():
            sources = tuple(dict.fromkeys(vertex_of(ref) for ref in node.inputs.values()))
            runs_as = node.name
            if node.type == "router":
                runs_as = pick_of(node.name)
                self.needs[node.name] = (runs_as,)
            self.reads[runs_as] = sources
            triggers = (vertex_of(ref) for ref in node.triggers if self.gates(node))
            self.needs[runs_as] = tuple(dict.fromkeys([*sources, *triggers]))
            if node.name not in local and segment_of[node.name] in called:
                self.home[runs_as] = segment_of[node.name]
        self.read_on_condition = self._read_on_condition()
        self.slots = {name: index for index, name in enumerate(self.needs)}

    def _read_on_condition(self) -> frozenset[str]:
        """Vertices that another process may read, if there are routers or stand-ins at all."""
        if not any(node.routes or node.fallback for node in self.plan.nodes.values()):
            return frozenset()
        found = {vertex_of(ref) for ref in self.plan.outputs.values()}
        for name, needs in self.needs.items():
            found |= {need for need in needs if self.home.get(need) != self.home.get(name)}
        for node in self.plan.nodes.values():
            found |= {*node.routes, *([vertex_of(node.fallback)] if node.fallback else [])}
        return frozenset(found)

    def gates(self, node: PlannedNode) -> bool:
        """Return whether this process decides if a node is skipped for want of a value.

        The process that orchestrates decides for its own nodes, and for those that have a segment
        to themselves.
        """
        return self.orchestrates or node.name not in self._alone

    def node(self, vertex: str) -> PlannedNode:
        """The node of a vertex other than a graph input."""
        return self.plan.nodes[vertex.removesuffix("#pick")]

    def shared(self, vertex: str) -> bool:
        """True if more than one thing may read the vertex's value."""
        return shared(self.plan, vertex)


def shared(plan: Plan, vertex: str) -> bool:
    """True if more than one input, route, stand-in or graph output reads the vertex."""
    return readers(plan).get(vertex, 0) > 1


def readers(plan: Plan) -> dict[str, int]:
    """Return how many inputs, routes, stand-ins and graph outputs read each vertex.

    Explainers are left out: they evaluate for themselves.
    """
    count = Counter(map(vertex_of, plan.outputs.values()))
    for node in plan.nodes.values():
        if node.type != "explainer":
            count.update(map(vertex_of, node.inputs.values()))
            count.update(node.routes)
            count.update([] if node.fallback is None else [vertex_of(node.fallback)])
    return count


def pick_of(router: str) -> str:
    """Name of the vertex in which a router decides; the router's own name is where it joins."""
    return f"{router}#pick"
