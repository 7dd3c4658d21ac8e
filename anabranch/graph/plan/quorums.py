"""Quorums of combiners, and which of their inputs may be left out."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.graph.plan.plan import PlannedNode


def quorum_of(node: PlannedNode) -> int | None:
    """The fewest inputs that a node goes on with; None where it needs all."""
    found: int | None = getattr(node.spec, "quorum", None)
    return found


def skippable(nodes: Mapping[str, PlannedNode], node: PlannedNode) -> list[str]:
    """The keys of those inputs of a node that may be left out."""
    return [
        key
        for key, ref in node.inputs.items()
        if ref.node is not None and ref.node in nodes and nodes[ref.node].spec.on_error == "skip"
    ]
