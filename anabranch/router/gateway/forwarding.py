"""Passes requests for graphs on to their routers: those that the proxy in front sends no router.

They are for graphs that sleep, or whose only router is being replaced. Where no proxy can run, the
gateway stands in front itself, and all requests come this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any

from anabranch.errors import Unavailable
from anabranch.graph.calls.stepping import in_task
from anabranch.router.addresses import Addresses, Control
from anabranch.router.backend import GraphState
from anabranch.router.following import Follower
from anabranch.router.gateway.forwarded_body import ForwardedBody
from anabranch.router.gateway.http_router import (
    REFUSED_S,
    HttpRouter,
    RouterEnded,
    RouterUnreachable,
)
from anabranch.router.gateway.repository import absent
from anabranch.router.gateway.routers import GraphRouters
from anabranch.router.http.app import Answer, CancelOnDisconnect, json_reply
from anabranch.router.http.doors.openai.models import model_document
from anabranch.router.http.doors.places import V1
from anabranch.router.http.doors.v1.status import state_document
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.limits import RequestLimits
from anabranch.specs.models import ProtocolName
from anabranch.waiting import within

RETRIES = 3
"""How often a request is sent again where the router ended before it answered."""
WAIT_S = 20.0
"""Longest time that a request waits for a router that is on its way."""
_SAFE = ("GET", "HEAD")
"""Methods that change nothing (RFC 9110, 9.2.1)."""


class Forwarder:
    """The routers of all graphs, as the controller names them, and the requests on their way there.

    Without a listed router a graph is woken, and the request waits; so it does where no router lets
    it connect. A request that may have reached a router is sent again only where that does no harm.
    ``protocols`` are those that the engine turns on for all graphs.
    """

    def __init__(
        self,
        control: Control,
        limits: RequestLimits,
        protocols: Collection[ProtocolName] = (),
    ) -> None:
        self._control = control
        self._protocols = protocols
        self._limits = limits
        self._rule = BodyRule.of(limits)
        self._addresses = Addresses()
        self._graphs: dict[str, GraphRouters] = {}
        self._changed = asyncio.Event()
        self._follower = Follower("addresses", control.addresses, self._apply)

    def start(self) -> None:
        """Follow the addresses in the background."""
        self._follower.start()

    async def close(self) -> None:
        """Follow no longer, and close all connections; those in use once their request ends."""
        await self._follower.close()
        await self._apply(Addresses())

    @property
    def is_told(self) -> bool:
        """Whether the controller has said where routers are, however long ago."""
        return bool(self._follower.version)

    async def forward(self, graph: str, request: HttpRequest) -> Answer:
        """Have a router of a graph answer a request.

        Raises NotFound for a graph that is not there, Unavailable where no router answers, and as
        ``ForwardedBody`` does.
        """
        await in_task()
        routers = await self._known(graph)
        if routers.is_empty and request.method in _SAFE:
            state = await self._state(graph, request.path.removesuffix("/"))
            if state is not None:
                return state
        async with AsyncExitStack() as stack:

            async def listen() -> None:
                await stack.enter_async_context(CancelOnDisconnect(request.receive))

            body = ForwardedBody(request, self._rule, listen)
            await body.begin()
            return await self._answered(graph, request, body)

    async def _state(self, graph: str, path: str) -> Answer | None:
        """Whether a graph without a router is ready; to ask is no reason to wake it.

        None where a path asks for something else, or by a protocol that the graph does not speak.
        """
        if path.endswith("/ready"):
            await self._ready(graph)
            return json_reply({"name": graph, "ready": True})
        if path != f"{V1}{graph}":
            return None
        state = await self._ready(graph)
        protocols = {*self._protocols, *state.get("protocols", ())}
        fields: dict[str, Any] = {}
        if "v1" in protocols:
            fields |= state_document(graph, {str(state["revision"]): ""})
        if "openai" in protocols:
            fields |= model_document(graph, state.get("created", 0))
        return json_reply(fields) if fields else None

    async def _ready(self, graph: str) -> GraphState:
        """The state of a graph that is ready; NotFound or Unavailable otherwise."""
        graphs = await self._control.graphs()
        if graph not in graphs or not graphs[graph]["ready"]:
            raise absent(graph, graphs)
        return graphs[graph]

    async def _answered(self, graph: str, request: HttpRequest, body: ForwardedBody) -> Answer:
        left = RETRIES
        while True:
            try:
                return await self._sent(graph, request, body)
            except RouterEnded:
                may_repeat = request.method in _SAFE or graph in self._addresses.idempotent
                if not (left and may_repeat and body.is_at_hand):
                    raise
            left -= 1

    async def _sent(self, graph: str, request: HttpRequest, body: ForwardedBody) -> Answer:
        """Send a request to the first router that lets it connect."""
        for _ in range(RETRIES + 1):
            await self._awake(graph)
            ends = asyncio.get_running_loop().time() + WAIT_S
            while (router := await self._reachable(graph, ends)) is not None:
                try:
                    return await router.pass_on(request, body)
                except RouterUnreachable:
                    continue
        raise _unreachable(graph)

    async def _awake(self, graph: str) -> None:
        """Return once a router of a graph is listed; wake the graph where none is."""
        routers = await self._known(graph)
        if not routers.is_empty:
            return
        with routers.waiting:
            try:
                await self._control.wake(graph)
            except Unavailable:
                if (await self._known(graph)).is_empty:
                    raise
            ends = asyncio.get_running_loop().time() + WAIT_S
            while (await self._known(graph)).is_empty:
                await self._change(graph, ends)

    async def _reachable(self, graph: str, ends: float) -> HttpRouter | None:
        """The next router that may let a request connect; None where none is listed any more."""
        while not (routers := await self._known(graph)).is_empty:
            router = routers.pick()
            if router is not None:
                return router
            with routers.waiting:
                await self._change(graph, ends, REFUSED_S)
        return None

    async def _known(self, graph: str) -> GraphRouters:
        await self._follower.first()
        found = self._graphs.get(graph)
        if found is None:
            raise absent(graph, await self._control.graphs())
        return found

    async def _change(self, graph: str, ends: float, patience: float = WAIT_S) -> None:
        """Wait for other addresses, at most ``patience`` seconds; Unavailable at ``ends``."""
        left = ends - asyncio.get_running_loop().time()
        if left <= 0:
            raise _unreachable(graph)
        await within(min(left, patience), self._changed)

    async def _apply(self, addresses: Addresses) -> None:
        """Know these routers; while the controller is away, those that are known stay."""
        self._addresses = addresses
        retired: list[HttpRouter] = []
        for graph in self._graphs.keys() - addresses.routers.keys():
            retired += self._graphs.pop(graph).know(())
        for graph, routers in addresses.http(self._control.node).items():
            known = self._graphs.setdefault(graph, GraphRouters(self._limits.max_ongoing))
            retired += known.know(routers)
        self._changed.set()
        self._changed = asyncio.Event()
        for one in retired:
            await one.retire()


def _unreachable(graph: str) -> Unavailable:
    return Unavailable(f"no router of graph {graph!r} can be reached; try again later")
