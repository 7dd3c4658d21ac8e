"""A control plane for those who send requests to routers: what it says is put in by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anabranch.access.identity import Asker
from anabranch.errors import Unavailable
from anabranch.router.addresses import Addresses, Reach, RouterAddress
from anabranch.router.backend import GraphState
from anabranch.router.errors import Headers, HttpReply
from anabranch.router.gateway.app import Gateway
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.limits import RequestLimits
from anabranch.telemetry.registry import Snapshot
from tests.router.askers import LetsIn


async def _never_woken(graph: str) -> None:
    raise Unavailable(f"graph {graph!r} cannot be woken")


class FakeControl(LetsIn):
    """What the controller says: addresses as they are put in, graphs as they are set.

    It has no addresses to tell before the first are put in where it is not ``told``.
    """

    def __init__(self, told: bool = True) -> None:
        self.states: dict[str, GraphState] | Exception = {}
        self.idempotent: frozenset[str] = frozenset()
        self._addresses = Addresses(int(told))
        self._changed = asyncio.Event()
        self._taken = 0
        self._polled = asyncio.Event()
        self.woken: list[str] = []
        self.handled: list[tuple[str, str]] = []
        self.answer = HttpReply(202, b"{}")
        self.on_wake: Callable[[str], Awaitable[None]] = _never_woken
        self.poll: Callable[[int], Awaitable[Addresses]] = self._next

    def put(self, **routers: tuple[str, ...]) -> None:
        """Put addresses in, each for both protocols."""
        known = {
            graph: tuple(RouterAddress(*2 * (Reach(far=address),)) for address in addresses)
            for graph, addresses in routers.items()
        }
        self._addresses = Addresses(self._addresses.version + 1, known, self.idempotent)
        self._changed.set()

    async def know(self, **routers: tuple[str, ...]) -> None:
        """Put addresses in, and wait until the one who follows them has them."""
        self.put(**routers)
        while self._taken != self._addresses.version:
            self._polled.clear()
            await self._polled.wait()

    async def addresses(self, version: int) -> Addresses:
        return await self.poll(version)

    async def _next(self, version: int) -> Addresses:
        self._taken = version
        self._polled.set()
        while self._addresses.version == version:
            await self._changed.wait()
            self._changed.clear()
        return self._addresses

    async def wake(self, graph: str) -> None:
        self.woken.append(graph)
        await self.on_wake(graph)

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        self.handled.append((method, path))
        return self.answer.status, self.answer.headers, self.answer.body

    async def graphs(self) -> Mapping[str, GraphState]:
        if isinstance(self.states, Exception):
            raise self.states
        return self.states

    async def metrics(self) -> Snapshot:
        return {}


def make_gateway(control: Any, **settings: Any) -> Gateway:
    """A gateway that follows no addresses."""
    limits = RequestLimits()
    return Gateway(control, limits, Forwarder(FakeControl(), limits), **settings)
