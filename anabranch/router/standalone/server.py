"""Serves one graph over HTTP and gRPC, and moves to a new revision of it while requests come."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from anabranch.access.guard import Guard
from anabranch.access.table import OPEN, AccessTable
from anabranch.errors import Conflict, EngineError
from anabranch.graph.plan.plan import Plan
from anabranch.router.gateway.app import Gateway
from anabranch.router.http.doors.engine_protocols import engine_protocols
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import MANY_HANDLES, LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.signing import SigningKey
from anabranch.router.standalone.access import is_loopback
from anabranch.router.standalone.app import StandaloneApp
from anabranch.router.standalone.backend import StandaloneBackend
from anabranch.router.standalone.revision import StandaloneRevision
from anabranch.router.standalone.rewards import StandaloneRewards
from anabranch.router.table import RoutingTable
from anabranch.router.tracing import sampler_of
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.router.traffic.samples import Samples, counted_samples
from anabranch.specs.models import ProtocolName

if TYPE_CHECKING:  # gRPC is imported only where it is asked for
    from anabranch.router.standalone.grpc_server import StandaloneGrpc

PORT = 8080
"""Port of HTTP where nothing else is said."""
HEALTH_S = 10.0
"""Time between two looks at the components' health, in seconds."""


@dataclass(frozen=True)
class StandaloneOptions:
    """Where a graph is served, and to whom; a port of 0 is any that is free."""

    host: str = "127.0.0.1"
    port: int = PORT
    grpc_port: int | None = None
    """None for no gRPC."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    access: AccessTable = OPEN


class StandaloneServer:
    """One graph at its sockets; made and used on one event loop.

    ``listener`` is a socket of TCP that is bound and does not listen yet.
    """

    def __init__(
        self, revision: StandaloneRevision, options: StandaloneOptions, listener: socket.socket
    ) -> None:
        self._revision, self._options, self._listener = revision, options, listener
        self._heads = {revision.number: revision}
        self._keys = (SigningKey(os.urandom(8).hex(), os.urandom(32), time.time()),)
        self._created = time.time()
        protocols = engine_protocols()
        self._arms = self._made_arms(protocols)
        self._rewards = StandaloneRewards()
        self._feedback = Feedback(self._arms, self._rewards)
        self._backend = StandaloneBackend(self._arms, Guard(options.access))
        self._http = LeanServer(self._app(protocols), MANY_HANDLES)
        self._grpc = self._made_grpc()
        self._background: set[asyncio.Task[None]] = set()
        self.port = int(listener.getsockname()[1])
        self.grpc_port: int | None = None
        """The port of gRPC, once it is there."""

    def _made_arms(self, protocols: Collection[ProtocolName]) -> Arms:
        name, limits = self._revision.plan.name, self._options.limits
        self._logs = RequestLogs(name, os.urandom(8).hex(), LogSettings.from_env())
        return Arms(
            name,
            lambda number: self._heads[number].head,
            limits,
            explainers=lambda number: self._heads[number].explainers,
            samples=Samples(limits, counted_samples(name)),
            sampler=sampler_of(self._revision.graph),
            logs=self._logs,
            everywhere=protocols,
        )

    def _app(self, protocols: Collection[ProtocolName]) -> StandaloneApp:
        options = self._options
        app = GraphApp(self._arms, self._feedback)
        gateway = Gateway(
            self._backend, options.limits, self._backend,
            loopback=is_loopback(options.host), protocols=protocols,
        )  # fmt: skip
        return StandaloneApp(self._arms.name, app, gateway)

    def _made_grpc(self) -> StandaloneGrpc | None:
        if self._options.grpc_port is None:
            return None
        from anabranch.router.standalone.grpc_server import StandaloneGrpc

        return StandaloneGrpc(self._arms, self._feedback, self._backend)

    async def start(self) -> None:
        """Answer; EngineError where gRPC's port is taken."""
        self._arms.admit_by(self._options.access)
        self._apply(self._revision)
        if self._grpc is not None and self._options.grpc_port is not None:
            self.grpc_port = await self._grpc.start(self._options.host, self._options.grpc_port)
        await self._http.listen(self._listener, has_guests=True)
        self._begin(self._watch_health())

    def check(self, plan: Plan) -> None:
        """Raise Conflict for the plan of another graph, to which this server does not move."""
        if plan.name != self._arms.name:
            raise Conflict(f"the file names graph {plan.name!r} now, not {self._arms.name!r}")

    def move_to(self, revision: StandaloneRevision) -> None:
        """Have a newer revision of the graph answer; the one before ends with its last requests."""
        before = self._revision
        self._apply(revision)
        self._begin(self._retire(before))

    @property
    def revision(self) -> StandaloneRevision:
        """The revision that answers."""
        return self._revision

    def _apply(self, revision: StandaloneRevision) -> None:
        number = revision.number
        self._heads[number] = self._revision = revision
        table = RoutingTable(
            self._arms.name,
            generation=number,
            stable=number,
            weights={number: 100.0},
            revisions={number: revision.plan.signature},
            keys=self._keys,
            created=self._created,
        )
        self._arms.apply(table)
        self._backend.table = table
        self._rewards.teach(number, revision.learners)

    async def _retire(self, revision: StandaloneRevision) -> None:
        await asyncio.sleep(revision.plan.timeout)
        del self._heads[revision.number]
        await revision.close()

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_S)
            await self._revision.check_health()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Let requests end, for as long as one may take at most, and unload what is loaded."""
        seconds = self._revision.plan.timeout
        ends = [self._http.close(seconds)]
        if self._grpc is not None:
            ends.append(self._grpc.stop(seconds))
        await asyncio.gather(*ends)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._arms.close()
        await asyncio.to_thread(self._logs.close)
        for revision in self._heads.values():
            await revision.close()


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket of TCP that is bound and does not listen; EngineError where it cannot be."""
    address = ip_address("127.0.0.1" if host == "localhost" else host)
    found = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((str(address), port))
    except OSError as error:
        found.close()
        raise EngineError(
            f"port {port} on {host} cannot be had ({error.strerror}): name another by --port; 0 is "
            "any that is free"
        ) from None
    return found
