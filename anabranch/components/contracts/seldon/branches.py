"""Branches of a router by number, as Seldon's ``route`` returns them, and a node's routes by name.

A branch is the place of a route in the spec; -1 stands for all routes, and -2 for none
(``executor/predictor/predictor_process.go``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from anabranch.components.contract import BROADCAST
from anabranch.components.contracts.seldon.payloads import Payload
from anabranch.components.registry import type_of
from anabranch.specs.models import NodeBase, Router

ALL_ROUTES, NO_ROUTE = -1, -2


def router_of(node: NodeBase) -> Callable[[Payload], str | None] | None:
    """Return how what ``route`` returns becomes a route; None for nodes that are no routers.

    It raises TypeError for what is no whole number, and ValueError for a number without a route.
    """
    if type_of(node) != "router":
        return None
    routes = _routes(node)
    return lambda payload: _route(payload, routes)


def branch_of(route: str | None, node: NodeBase) -> int | None:
    """Return the number of a route; None for none, and for nodes that are no routers."""
    if type_of(node) != "router" or route is None:
        return None
    router, routes = cast(Router, node), _routes(node)
    if route in routes:
        return routes.index(route)
    return {router.broadcast: ALL_ROUTES, router.skip: NO_ROUTE}.get(route)


def _routes(node: NodeBase) -> tuple[str, ...]:
    return tuple(cast(Router, node).routes or ())


def _route(payload: Payload, routes: tuple[str, ...]) -> str | None:
    branch = payload
    while isinstance(branch, list | np.ndarray) and len(branch):  # in a message: [[branch]]
        branch = branch[0]
    if isinstance(branch, float) and branch.is_integer():
        branch = int(branch)
    if not isinstance(branch, int | np.integer) or isinstance(branch, bool):
        raise TypeError(f"Routing response must be int but got {payload}")
    if branch == ALL_ROUTES:
        return BROADCAST
    if branch == NO_ROUTE:
        return None
    if not 0 <= branch < len(routes):
        raise ValueError(
            f"route() returned {branch}, and there are {len(routes)} routes: 0 to "
            f"{len(routes) - 1}, {ALL_ROUTES} for all of them, {NO_ROUTE} for none"
        )
    return routes[int(branch)]
