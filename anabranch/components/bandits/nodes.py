"""Which nodes of a graph learn."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from anabranch.components import registry
from anabranch.components.bandits.bandit import Bandit
from anabranch.specs.models import NodeBase


def strategy_of(node: NodeBase) -> type[Bandit] | None:
    """Return the strategy of a router that learns; None for all other nodes."""
    name = registry.builtin_of(node)
    if name is None or registry.type_of(node) != "router" or name not in registry.names("router"):
        return None
    cls = registry.get("router", name).cls
    return cls if issubclass(cls, Bandit) else None


def bandit_of(node: NodeBase) -> Bandit:
    """Return a strategy of a router that learns, which shares no draws with any other."""
    name = registry.builtin_of(node) or ""
    return cast(Bandit, registry.get("router", name).factory(node, Path()))
