"""The routers of a plan that learn, and how many features each learns from."""

from __future__ import annotations

from anabranch.components.bandits.nodes import strategy_of
from anabranch.graph.plan import Plan, PlannedNode


def learners(plan: Plan) -> dict[str, int]:
    """Number of features by node, for all routers that learn; 0 for one that looks at none."""
    found = {name: _size(plan, node) for name, node in plan.nodes.items()}
    return {name: size for name, size in found.items() if size is not None}


def _size(plan: Plan, node: PlannedNode) -> int | None:
    strategy = strategy_of(node.spec)
    if strategy is None:
        return None
    types = {key: plan.type_of(ref) for key, ref in node.inputs.items()}
    return strategy.size(types, node.spec.args)
