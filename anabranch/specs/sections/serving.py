"""Rules of ``serving``: a port of the graph's own, or a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anabranch.errors import Mistake


def serving_rules(spec: Mapping[str, Any]) -> Iterator[Mistake]:
    """Every rule that the ``serving`` of ``spec`` breaks; its parts may be anything."""
    serving = spec.get("serving")
    if not isinstance(serving, Mapping):
        return
    if not serving:
        yield (), "needs `port`, a port of the graph's own, or `pool`, a process that it shares"
    if serving.get("pool") is None:
        return
    if serving.get("port") is not None:
        yield ("port",), "a graph in a pool has no port of its own; remove `port` or `pool`"
    for field, why in _ALONE.items():
        if spec.get(field):
            yield ("pool",), f"a graph in a pool has no `{field}`, {why}; remove one of the two"


_ALONE = {
    "scaling": "for its routers are those of the pool",
    "placement": "for a pool is a process on the engine's machine",
    "monitors": "which run in a process of their own",
}
"""Fields of a spec that a pool has no place for, and why."""
