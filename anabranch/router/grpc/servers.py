"""The two servers that run: a router's own, and the front."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from anabranch.router.addresses import Addresses, Control
from anabranch.router.following import Follower
from anabranch.router.grpc.front import Front
from anabranch.router.grpc.server import SERVING, UNKNOWN, GrpcServer
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms

_UNIX = "unix:"


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

    async def start_unix(self, path: Path) -> None:
        """Listen on a Unix socket, which is removed at ``stop``."""
        await self._server.start_unix(path)
        self.address = f"{_UNIX}{path}"
        await self._server.health(self._arms.name, SERVING)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._server.stop(grace)
        self._forget()

    def _forget(self) -> None:
        if self.address.startswith(_UNIX):
            Path(self.address.removeprefix(_UNIX)).unlink(missing_ok=True)


class FrontServer:
    """The engine's gRPC server, which follows the addresses of routers."""

    def __init__(self, control: Control, limits: RequestLimits) -> None:
        self._front = Front(control, limits)
        self._server = GrpcServer([self._front.handlers()], limits)
        self._known: Set[str] = frozenset()
        self._addresses = Follower("addresses", control.addresses, self._apply)

    async def start(self, host: str, port: int) -> int:
        """Listen, and follow in the background; the port. EngineError where it is taken."""
        found = await self._server.start(host, port)
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
