"""Quorums of nodes, and the inputs that stand-ins may leave out."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.graph.plan.plan import PlannedNode


def quorum_of(node: PlannedNode) -> int | None:
    """The fewest inputs that a node goes on with; None where it needs all."""
    found: int | None = getattr(node.spec, "quorum", None)
    return found


def skippable(nodes: Mapping[str, PlannedNode], node: PlannedNode) -> list[str]:
    """The keys of those inputs of a node that ``on_error: skip`` may leave out."""
    return [
        key
        for key, ref in node.inputs.items()
        if ref.node is not None and ref.node in nodes and nodes[ref.node].spec.on_error == "skip"
    ]
