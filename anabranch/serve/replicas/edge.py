"""The edge as an actor: owns a machine's HAProxy in front, and tells it where routers are."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from anabranch.environment import Environment
from anabranch.errors import EngineError
from anabranch.graph.plan.plan import DEFAULT_TIMEOUT
from anabranch.router.addresses import Addresses
from anabranch.router.between_nodes import node_folder
from anabranch.router.following import RETRY_S, Follower
from anabranch.serve.bound_actors import start_on
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.edge.configuration import STATS_SOCKET, EdgeOptions
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.leaving import Leaving
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import FRONT, GATEWAY, EdgeRoute
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.serve.edge.tls.copies import CertificateCopies
from anabranch.serve.edge.tls.in_force import InForce, in_force_at
from anabranch.serve.edge.tls.renewal import Renewal
from anabranch.serve.edge.watch import RouterWatch
from anabranch.serve.export.exporter import start_exporting, stop_exporting
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import start_heartbeat
from anabranch.serve.sockets import (
    BIND_S,
    EDGE,
    FOLDER,
    FRONT_SOCKET,
    GATEWAY_SOCKET,
    unix_address,
    unix_folder,
)

EDGE_ACTOR = "anabranch-edge"
READY_S = 60.0
"""How long the edge may take to have its ports, in seconds."""

logger = logging.getLogger("anabranch.serve")


@dataclass(frozen=True)
class SecuredEdge:
    """What an edge needs that speaks TLS: the files that the head's machine has, None elsewhere.

    ``verifies`` tells whether there are authorities of clients' certificates.
    """

    files: TlsFiles | None
    verifies: bool


class Edge:
    """The edge of one machine, which it is bound to; the HAProxy is the one of its environment.

    It outlives the driver that starts it, and Ray starts it again where it dies. HAProxy goes on
    meanwhile, with the routers that it knows.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, address: EdgeAddress, connections: ConnectionLimits, tls: SecuredEdge | None
    ) -> None:
        write_logs()
        start_exporting()
        start_heartbeat()
        self._connections = connections
        self._address = address
        self._tls = tls
        self._renewal: Renewal | CertificateCopies | None = None
        self._link = ControllerLink("edge")
        self._addresses = Follower("addresses", self._link.addresses, self._apply)
        self._known = Addresses()
        self._routers: Mapping[str, tuple[str, ...]] = {}
        self._watch = RouterWatch(self._reroute, self._give_up)
        self._leaving: Leaving | None = None
        self._problem = "it is starting"
        self._open = asyncio.Event()
        self._running = asyncio.create_task(self._start())

    async def ready(self) -> None:
        """Wait until the ports are open; EngineError with the reason where that takes too long."""
        try:
            async with asyncio.timeout(BIND_S):
                await self._open.wait()
        except TimeoutError:
            raise EngineError(f"the edge does not start: {self._problem}") from None

    async def drain(self) -> bool:
        """Accept no connection from now on; return whether the edge may be closed.

        That is once nothing has been under way for a while, and at the latest when each request
        has had the longest time that a graph gives one. Ask again and again.
        """
        if not self._open.is_set():
            return True
        self._leaving = self._leaving or Leaving(self._proxy, self._longest)
        return await self._leaving.is_over()

    def _longest(self) -> float:
        """Return how long a request may take, to a graph or to the gateway, in seconds."""
        return max([DEFAULT_TIMEOUT, *self._known.longest.values()])

    async def close(self) -> None:
        """Accept nothing from now on, and return once requests under way have had their time."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._addresses.close()
        await self._watch.close()
        if self._open.is_set():
            self._open.clear()
            await self._proxy.close()
        await asyncio.to_thread(stop_exporting)

    async def _start(self) -> None:
        """Open the ports as soon as that can be done, and follow the addresses from then on."""
        while not self._open.is_set():
            try:
                await self._started()
                self._open.set()
            except Exception as error:
                self._problem = str(error)
                logger.exception("the edge does not start")
                await asyncio.sleep(RETRY_S)
        self._addresses.start()
        if self._renewal is not None:
            await self._renewal.run()

    async def _started(self) -> None:
        folder, binary = unix_folder(), os.environ.get(EDGE)
        if folder is None:
            raise EngineError(f"variable {FOLDER} names no folder")
        if not binary:
            raise EngineError("this machine has no HAProxy")
        self._folder = folder
        self._shared = {
            GATEWAY: EdgeRoute((unix_address(folder / GATEWAY_SOCKET),), idempotent=False),
            FRONT: EdgeRoute((unix_address(folder / FRONT_SOCKET),), idempotent=False),
        }
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        options = EdgeOptions(
            connections=self._connections.within(files),
            tls=await self._certified(folder),
            nodes=node_folder(),
        )
        self._proxy = await EdgeProxy.start(
            Path(binary), folder, options, self._address, self._shared
        )

    async def _certified(self, folder: Path) -> InForce | None:
        """Return the certificates with which HAProxy starts, and know how they are renewed."""
        if self._tls is None:
            return None
        in_force = in_force_at(Environment(os.environ).home, self._tls.verifies)
        files, api = self._tls.files, RuntimeApi(folder / STATS_SOCKET)
        if files is None:
            self._renewal = CertificateCopies(self._link.certificates, in_force, api)
        else:
            self._renewal = Renewal(files, in_force, api)
        await self._renewal.begin()
        return in_force

    async def _apply(self, addresses: Addresses) -> None:
        self._known = addresses
        self._routers = addresses.http(self._link.node)
        self._watch.know(chain.from_iterable(self._routers.values()))
        await self._route()

    async def _reroute(self) -> None:
        try:
            await self._route()
        except EngineError as error:
            logger.warning("the edge does not take its routes yet: %s", error)

    async def _give_up(self, address: str) -> None:
        try:
            await self._proxy.give_up(address)
        except EngineError as error:
            logger.warning("requests at %s, which has gone, may hang: %s", address, error)

    async def _route(self) -> None:
        """Have requests go to the routers that are known and live."""
        routes = {
            graph: EdgeRoute(
                self._watch.living(routers),
                graph in self._known.idempotent,
                self._known.longest[graph],
            )
            for graph, routers in self._routers.items()
        }
        await self._proxy.apply({**routes, **self._shared})


def start_edge(
    machine: str,
    name: str,
    address: EdgeAddress,
    connections: ConnectionLimits,
    tls: SecuredEdge | None,
) -> Any:
    """Start the edge of the machine of an id, if none has its name; returns its handle at once."""
    return start_on(machine, Edge, name, address, connections, tls)
