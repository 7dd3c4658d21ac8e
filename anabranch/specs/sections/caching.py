"""Rules of ``cache``: its time and size, and the types of nodes that may have one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from anabranch.errors import Mistake
from anabranch.specs.excerpts import quoted_all
from anabranch.specs.units import Size
from anabranch.specs.unvalidated import Map, as_map, some_time, under

CACHED_TYPES = ("transformer", "predictor", "combiner")
LEAST_SIZE = Size.parse("1MiB")
"""A file of SQLite takes some pages before the first answer."""


def caching_rules(cache: Map) -> Iterator[Mistake]:
    """Every rule that a ``cache`` breaks; its parts may be anything."""
    yield from some_time(cache, "ttl")
    with suppress(ValueError):
        if Size.parse(cache.get("size")) < LEAST_SIZE:
            yield ("size",), f"must be at least {LEAST_SIZE}"


def node_caching_rules(node: Map) -> Iterator[Mistake]:
    """Every rule that the ``cache`` of a node breaks."""
    yield from under(("cache",), caching_rules(as_map(node.get("cache"))))
    if "cache" in node and node["type"] not in CACHED_TYPES:
        yield ("cache",), f"is for {quoted_all(CACHED_TYPES)} nodes; remove it"
