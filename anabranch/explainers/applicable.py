"""Lists the methods that can explain a node."""

from __future__ import annotations

from anabranch.components import registry
from anabranch.specs.models import NodeBase


def fitting(explained: NodeBase | None, *, from_outside: bool = False) -> list[str]:
    """Return the names of the methods that fit a node, or for None the whole graph.

    ``from_outside`` leaves out those that look into the component.
    """
    kinds = [registry.get("explainer", name) for name in registry.names("explainer")]
    return [
        kind.name
        for kind in kinds
        if kind.fits(explained) is None and not (from_outside and kind.looks_inside)
    ]
