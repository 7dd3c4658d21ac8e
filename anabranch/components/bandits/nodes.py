"""Which nodes of a graph learn."""

from __future__ import annotations

from anabranch.components import registry
from anabranch.components.bandits.bandit import Bandit
from anabranch.specs.models import NodeBase


def strategy_of(node: NodeBase) -> type[Bandit] | None:
    """The strategy of a router that learns; None for all other nodes."""
    name = registry.builtin_of(node)
    if name is None or registry.type_of(node) != "router" or name not in registry.names("router"):
        return None
    cls = registry.get("router", name).cls
    return cls if issubclass(cls, Bandit) else None
