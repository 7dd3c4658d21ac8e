"""The edge as an actor: owns the HAProxy in front, and tells it where routers are."""

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

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.errors import EngineError
from anabranch.router.addresses import Addresses
from anabranch.router.between_nodes import node_folder
from anabranch.router.following import RETRY_S, Follower
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.calls.controller import NAMESPACE
from anabranch.serve.edge.configuration import STATS_SOCKET, EdgeOptions
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import FRONT, GATEWAY, EdgeRoute
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.serve.edge.tls.in_force import InForce
from anabranch.serve.edge.tls.renewal import Renewal
from anabranch.serve.edge.watch import RouterWatch
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import start_heartbeat
from anabranch.serve.sockets import (
    BIND_S,
    FOLDER,
    FRONT_SOCKET,
    GATEWAY_SOCKET,
    unix_address,
    unix_folder,
)
from anabranch.serve.workers.launcher import FORKED

ACTOR = "anabranch-edge"
_MOST_THREADS = 4
_READY_S = 60.0

logger = logging.getLogger("anabranch.serve")


@dataclass(frozen=True)
class SecuredEdge:
    """The files of an edge that speaks TLS, and their copies."""

    files: TlsFiles
    in_force: InForce


class Edge:
    """The one edge of an engine, on its own machine.

    It outlives the driver that starts it, and Ray starts it again where it dies. HAProxy goes on
    meanwhile, with the routers that it knows.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self,
        binary: Path,
        address: EdgeAddress,
        connections: ConnectionLimits,
        tls: SecuredEdge | None,
    ) -> None:
        write_logs()
        start_heartbeat()
        self._binary = binary
        self._connections = connections
        self._address = address
        self._tls = tls
        self._link = ControllerLink("edge")
        self._addresses = Follower("addresses", self._link.addresses, self._apply)
        self._known = Addresses()
        self._routers: Mapping[str, tuple[str, ...]] = {}
        self._watch = RouterWatch(self._reroute, self._give_up)
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
        if self._tls is not None:
            api = RuntimeApi(self._folder / STATS_SOCKET)
            await Renewal(self._tls.files, self._tls.in_force, api).run()

    async def _started(self) -> None:
        folder = unix_folder()
        if folder is None:
            raise EngineError(f"variable {FOLDER} names no folder")
        self._folder = folder
        self._shared = {
            GATEWAY: EdgeRoute((unix_address(folder / GATEWAY_SOCKET),), idempotent=False),
            FRONT: EdgeRoute((unix_address(folder / FRONT_SOCKET),), idempotent=False),
        }
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        options = EdgeOptions(
            threads=min(_MOST_THREADS, os.cpu_count() or 1),
            connections=self._connections.within(files),
            tls=None if self._tls is None else self._tls.in_force,
            nodes=node_folder(),
        )
        self._proxy = await EdgeProxy.start(
            self._binary, folder, options, self._address, self._shared
        )

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
    binary: Path, address: EdgeAddress, connections: ConnectionLimits, tls: SecuredEdge | None
) -> None:
    """Start the edge on the head node if it does not run, and wait until it has its ports.

    Raises EngineError where it cannot, or what Ray raises.
    """
    head = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(Edge)
    configured = actor.options(
        name=ACTOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        runtime_env=FORKED,
        scheduling_strategy=NodeAffinitySchedulingStrategy(head, soft=False),
    )
    edge = configured.remote(binary, address, connections, tls)
    ray.get(edge.ready.remote(), timeout=_READY_S)
