"""The two servers that run: a router's own, and the front."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from anabranch.router.addresses import Addresses, Control
from anabranch.router.between_nodes import far_address
from anabranch.router.following import Follower
from anabranch.router.grpc.front import Front
from anabranch.router.grpc.seldon.servicer import SeldonServicer
from anabranch.router.grpc.server import (
    NODES_PING_EVERY_MS,
    SERVING,
    UNKNOWN,
    GrpcServer,
    node_credentials,
)
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback

_UNIX = "unix:"


def graph_handlers(arms: Arms, feedback: Feedback | None) -> list[Any]:
    """Return the methods of all services for one graph; arguments as for ``GraphApp``."""
    return [GraphServicer(arms).handlers(), SeldonServicer(arms, feedback).handlers()]


class RouterServer:
    """The gRPC server of one router; fronts find it by its addresses ``near`` and ``far``.

    ``feedback`` as for ``GraphApp``.
    """

    def __init__(self, arms: Arms, feedback: Feedback | None = None) -> None:
        self._arms = arms
        handlers = graph_handlers(arms, feedback)
        self._server = GrpcServer(handlers, arms.limits, NODES_PING_EVERY_MS)
        self.near = self.far = ""
        """As ``Reach`` has them."""

    async def start(self, path: Path | None, host: str | None) -> None:
        """Listen on a Unix socket, which is removed at ``stop``, and on a port for other nodes."""
        if host is not None:
            self.far = far_address(host, self._server.bind(host, 0, node_credentials()))
        if path is None:
            await self._server.start()
        else:
            await self._server.start_unix(path)
            self.near = f"{_UNIX}{path}"
        await self._server.health(self._arms.name, SERVING)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._server.stop(grace)
        self._forget()

    def _forget(self) -> None:
        if self.near:
            Path(self.near.removeprefix(_UNIX)).unlink(missing_ok=True)


class FrontServer:
    """The engine's gRPC server, which follows the addresses of routers."""

    def __init__(self, control: Control, limits: RequestLimits) -> None:
        self._addresses = Follower("addresses", control.addresses, self._apply)
        self._front = Front(control, limits, self._addresses)
        self._server = GrpcServer(self._front.handlers(), limits)
        self._known: Set[str] = frozenset()

    async def start(self, host: str, port: int) -> int:
        """Listen, and follow in the background; the port. EngineError where it is taken."""
        found = self._server.bind(host, port)
        await self._server.start()
        self._addresses.start()
        return found

    async def start_unix(self, path: Path) -> None:
        """Listen on a Unix socket, in place of one that may be there, and follow likewise."""
        await self._server.start_unix(path)
        self._addresses.start()

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._addresses.close()
        await self._server.stop(grace)
        self._front.close()

    async def _apply(self, addresses: Addresses) -> None:
        """Know these routers; while the controller is away, those that are known stay."""
        self._front.apply(addresses)
        for graph in self._known - addresses.routers.keys():
            await self._server.health(graph, UNKNOWN)
        for graph in addresses.routers:
            await self._server.health(graph, SERVING)
        self._known = addresses.routers.keys()
