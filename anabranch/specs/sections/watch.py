"""Rules over several fields of a node whose model is watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from anabranch.errors import Mistake
from anabranch.specs.units import Duration
from anabranch.specs.unvalidated import Map, as_map

SHORTEST = Duration.parse("1s")
"""Shortest time between two looks at the place of a model."""


def watch_rules(node: Map) -> Iterator[Mistake]:
    """Every rule that the ``watch`` of a node breaks, but for what kind of model it has."""
    watch = node.get("watch")
    if watch in (None, False) or "component" in node:
        return
    if "model" not in node:
        yield ("watch",), "needs `model`, the reference that is watched"
    if "sha256" in node:
        yield ("sha256",), "is the digest of one model, and a watched model moves; remove one"
    if "multiplex" in node:
        yield ("watch",), "`multiplex` has many models, which are not watched; remove one"
    with suppress(ValueError):
        if Duration.parse(as_map(watch).get("every")) < SHORTEST:
            yield ("watch", "every"), f"must be {SHORTEST} at least"
