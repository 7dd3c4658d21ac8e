"""The routers of one graph, and which of them gets the next request."""

from __future__ import annotations

from collections.abc import Iterable

from anabranch.router.gateway.http_router import HttpRouter
from anabranch.router.limits import ConcurrencyLimit


class GraphRouters:
    """Routers by their addresses; at most ``limit`` requests may wait for one that answers."""

    def __init__(self, limit: int) -> None:
        self.waiting = ConcurrencyLimit(limit, "may wait for a router of the graph")
        self._routers: dict[str, HttpRouter] = {}
        self._turn = 0

    @property
    def is_empty(self) -> bool:
        """Whether no router is listed."""
        return not self._routers

    def know(self, addresses: Iterable[str]) -> list[HttpRouter]:
        """Have routers at these addresses and no others; returns the others, to be retired."""
        before = self._routers
        self._routers = {
            address: before[address] if address in before else HttpRouter(address)
            for address in addresses
        }
        return [one for address, one in before.items() if address not in self._routers]

    def pick(self) -> HttpRouter | None:
        """Of the routers that refused no connection a moment ago, the one with least to do.

        Those that have equally much to do get requests in turn.
        """
        routers = [router for router in self._routers.values() if not router.has_refused()]
        if not routers:
            return None
        least = min(router.inside for router in routers)
        idle = [router for router in routers if router.inside == least]
        self._turn += 1
        return idle[self._turn % len(idle)]
