"""Graphs with routers that learn, as the controller knows them, and rewards for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from anabranch.control.traffic.tables import Outline, splits
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.learners import learners
from anabranch.router.traffic.decisions import Decision, Rewarded
from anabranch.specs.models import Traffic

_IDS = itertools.count()


def spec(name: str = "duo", routes: Sequence[str] = ("a", "b"), **routers: Any) -> dict[str, Any]:
    """A graph with a router ``pick`` for each of ``routers``, over nodes named by ``routes``."""
    nodes: dict[str, Any] = {
        route: {"type": "transformer", "component": "parts.py:One", "inputs": {"x": "x"}}
        for route in routes
    }
    for router, fields in routers.items():
        nodes[router] = {"type": "router", "routes": list(routes), **fields}
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "nodes": nodes,
            "outputs": {router: router for router in routers},
        },
    }


def outline(routes: Sequence[str] = ("a", "b"), **routers: Any) -> Outline:
    """The outline of such a graph."""
    plan = load_data(spec(routes=routes, **routers)).plan
    return Outline(plan.signature, Traffic(), False, learners(plan), splits(plan))


def rewarded(
    reward: float, route: str = "a", revision: int = 1, router: str = "pick", **features: Any
) -> Rewarded:
    """A reward for a route."""
    decision = Decision(f"request-{next(_IDS)}", revision, {router: route}, features)
    return Rewarded(decision, reward, 0.0)
