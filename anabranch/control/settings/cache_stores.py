"""Stores of the caches of graphs: what an engine needs for those that are in Redis."""

from __future__ import annotations

import importlib.util

from anabranch.errors import InvalidRequest
from anabranch.graph.plan.plan import Plan
from anabranch.serve.cache.opening import URL


def check(plan: Plan, url: str) -> None:
    """Refuse a graph with a cache that this engine cannot open; InvalidRequest says why.

    ``url`` is that of Redis; empty for none.
    """
    places = {"": plan.cache} | {f"nodes.{n}.": node.spec.cache for n, node in plan.nodes.items()}
    wanting = [place for place, cache in places.items() if cache and cache.store == "redis"]
    if not wanting:
        return
    field = f"spec.{wanting[0]}cache.store"
    if not url:
        raise InvalidRequest(
            f"{field}: `redis` needs a Redis server; set {URL} to its URL, such as "
            "redis://host:6379/0, and start the engine again, or say `machine`"
        )
    if importlib.util.find_spec("redis") is None:
        raise InvalidRequest(
            f"{field}: for redis the engine needs redis: pip install 'anabranch[redis]'"
        )
