"""The two servers that run: a router's own, and the front."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set

from anabranch.router.grpc.addresses import Addresses, Control
from anabranch.router.grpc.front import Front
from anabranch.router.grpc.server import SERVING, UNKNOWN, GrpcServer
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms

logger = logging.getLogger("anabranch.router")

RETRY_S = 0.2
"""Time before another try to ask for addresses."""


class RouterServer:
    """The gRPC server of one router; the front finds it by its ``address``."""

    def __init__(self, arms: Arms) -> None:
        self._arms = arms
        self._server = GrpcServer([GraphServicer(arms).handlers()], arms.limits)
        self.address = ""

    async def start(self, host: str) -> None:
        """Listen on a port that the system chooses."""
        port = await self._server.start(host)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await self._server.health(self._arms.name, SERVING)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._server.stop(grace)


class FrontServer:
    """The engine's gRPC server, which follows the addresses of routers."""

    def __init__(self, control: Control, limits: RequestLimits) -> None:
        self._control = control
        self._front = Front(control)
        self._server = GrpcServer([self._front.handlers()], limits)
        self._known: Set[str] = frozenset()
        self._following: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and follow in the background; the port. EngineError where it is taken."""
        found = await self._server.start(host, port)
        self._following = asyncio.create_task(self._follow())
        return found

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._server.stop(grace)
        self._front.close()

    async def _follow(self) -> None:
        """Keep to the controller's addresses; while it is away, those that there are stay."""
        version = 0
        while True:
            try:
                found = await self._control.addresses(version)
                if found.version != version:
                    await self._apply(found)
                version = found.version
            except Exception as error:
                logger.info("no addresses from the controller: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _apply(self, addresses: Addresses) -> None:
        self._front.apply(addresses)
        for graph in self._known - addresses.routers.keys():
            await self._server.health(graph, UNKNOWN)
        for graph in addresses.routers:
            await self._server.health(graph, SERVING)
        self._known = addresses.routers.keys()
