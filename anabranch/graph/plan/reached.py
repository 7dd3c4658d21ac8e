"""The nodes that a request may have run, by the routes that were chosen for it."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.vertices import vertex_of


def reached(plan: Plan, path: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nodes that a request with the routes ``path`` may have run, the last ones first.

    A router that has no route in ``path`` may have chosen any. Stand-ins are left out.
    """
    found = {vertex_of(ref) for ref in plan.outputs.values()}
    ordered = []
    for name in reversed(tuple(plan.nodes)):
        if name not in found:
            continue
        node = plan.nodes[name]
        ordered.append(name)
        found |= {vertex_of(ref) for ref in (*node.inputs.values(), *node.triggers)}
        found |= {path[name]} if name in path else set(node.routes)
    return tuple(ordered)
