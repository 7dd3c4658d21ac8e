"""Values that may be absent from a request: optional inputs and outputs, and skipped nodes.

A node is skipped where a value that it needs is absent, and then its own outputs are absent. With a
``quorum`` a node needs only so many of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anabranch.graph.plan.plan import PlannedNode, Ref, may_be_absent
from anabranch.graph.plan.quorums import quorum_of, skippable
from anabranch.specs.models import InputSpec, Triggers

Inputs = Mapping[str, InputSpec]
Nodes = Mapping[str, PlannedNode]


def absentable(inputs: Inputs, nodes: Nodes, node: PlannedNode) -> list[str]:
    """Return the keys of those inputs of a node that are not there in some requests."""
    skipped = skippable(nodes, node)
    return [
        key
        for key, ref in node.inputs.items()
        if key in skipped or may_be_absent(inputs, nodes, ref)
    ]


def optional_outputs(nodes: Nodes, node: PlannedNode) -> frozenset[str]:
    """Return the outputs that results of a node may lack; for a router node, of any route."""
    if node.type == "router":
        return frozenset().union(*(nodes[route].optional for route in node.routes))
    return frozenset(getattr(node.spec, "optional_outputs", None) or ())


def is_conditional(inputs: Inputs, nodes: Nodes, node: PlannedNode) -> bool:
    """Return whether a node is skipped in some requests; the nodes before it are marked."""

    def absent(refs: Iterable[Ref]) -> int:
        return sum(may_be_absent(inputs, nodes, ref) for ref in refs)

    without = absent(node.inputs.values())
    needed = quorum_of(node)
    if without and (needed is None or len(node.inputs) - without < needed):
        return True
    closed = absent(node.triggers)
    if closed and len(node.triggers) - closed < needed_triggers(node):
        return True
    if node.fallback is not None and may_be_absent(inputs, nodes, node.fallback):
        return True
    return any(_has_no_value(nodes[route], node) for route in node.routes)


def _has_no_value(route: PlannedNode, router: PlannedNode) -> bool:
    """Return whether the value of a route may be nothing that the router node could take over."""
    only = route.outputs is not None and len(route.outputs) == 1
    named = router.outputs is not None and len(router.outputs) > 1
    return route.is_conditional or (bool(route.optional) and (only or not named))


def needed_triggers(node: PlannedNode) -> int:
    """Return how many of a node's triggers must be there."""
    triggers: Triggers | None = node.spec.triggers
    if triggers is None or triggers.quorum is None:
        return len(node.triggers)
    return triggers.quorum
