"""Counts what is done about nodes that fail."""

from __future__ import annotations

from anabranch.graph.execute.policy import Notice
from anabranch.serve.identity import here
from anabranch.telemetry.definitions import NODE_RECOVERIES
from anabranch.telemetry.registry import REGISTRY, Registry


def counted(registry: Registry = REGISTRY) -> Notice:
    """A notice that counts in this process, which serves one revision of one graph."""
    labels = here()

    def notice(node: str, action: str) -> None:
        registry.number(NODE_RECOVERIES, *labels, node, action).value += 1

    return notice
