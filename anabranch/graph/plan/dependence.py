"""Which segments the outputs of a graph depend on, and what is left while some are down."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import reduce
from operator import and_

from anabranch.graph.plan.plan import Plan, PlannedNode, Ref
from anabranch.graph.plan.quorums import quorum_of, skippable
from anabranch.graph.plan.vertices import vertex_of


def optional_segments(plan: Plan) -> frozenset[str]:
    """Return the segments beside the head that requests call, and that not all requests need.

    One is needed by all where each output needs it, whichever routes are taken.
    """
    homes = homes_of(plan)
    needed: dict[str, frozenset[str]] = dict.fromkeys(plan.inputs, frozenset())
    for name, node in plan.nodes.items():
        routes = [needed[route] for route in node.routes]
        always = reduce(and_, routes) if routes else frozenset[str]()
        sources = (needed[vertex_of(ref)] for ref in (*node.inputs.values(), *node.triggers))
        needed[name] = always.union({homes[name]}, *sources)
    by_all = reduce(and_, (needed[vertex_of(ref)] for ref in plan.outputs.values()))
    called = {part.name for part in plan.segments[1:]} - plan.signature.explainers.keys()
    return frozenset(called - by_all)


def blocked_outputs(plan: Plan, down: Collection[str]) -> tuple[str, ...]:
    """Return the outputs that no request can get while these segments are down.

    A node of such a segment fails, and its stand-in holds. A router node is blocked where its
    decision is, or each of its routes.
    """
    homes = homes_of(plan)
    failed = {name: node for name, node in plan.nodes.items() if homes[name] in down}
    blocked: dict[str, bool] = dict.fromkeys(plan.inputs, False)
    for name, node in plan.nodes.items():
        if any(blocked[vertex_of(ref)] for ref in (*node.inputs.values(), *node.triggers)):
            blocked[name] = True
        elif name in failed or _lacks_quorum(node, failed):
            blocked[name] = _without(node, blocked)
        else:
            blocked[name] = bool(node.routes) and all(blocked[route] for route in node.routes)
    return tuple(name for name, ref in plan.outputs.items() if blocked[vertex_of(ref)])


def homes_of(plan: Plan) -> dict[str, str]:
    """Return the segment of each node."""
    return {node: part.name for part in plan.segments for node in part.nodes}


def _lacks_quorum(node: PlannedNode, failed: Mapping[str, PlannedNode]) -> bool:
    """Return whether too many inputs of a combiner are left out."""
    quorum = quorum_of(node)
    return quorum is not None and len(node.inputs) - len(skippable(failed, node)) < quorum


def _without(node: PlannedNode, blocked: Mapping[str, bool]) -> bool:
    """Return whether a node that fails has nothing that takes its place."""
    fallback: Ref | None = node.fallback
    if fallback is not None:
        return blocked[vertex_of(fallback)]
    return node.spec.on_error == "fail"
