"""The controller: a detached actor that keeps Serve as the store says, and answers API and routers.

Ray starts it again wherever it dies, with the same settings; all that it needs to go on is in the
store and in Serve. Nothing that serves requests needs it. Of several controllers on one store only
the one with the lease acts, and answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.access.identity import Asker
from anabranch.access.table import AccessTable
from anabranch.components.artefacts.kept.bundle_store import BLOB
from anabranch.control.api.endpoints import ApiAnswer
from anabranch.control.nodes.certificates import certificates_of
from anabranch.control.observe.process_sums import ProcessSums
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.parts import ControllerParts
from anabranch.control.reconcile.pools import Pools
from anabranch.control.release.bundles import BundleStore
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.tasks import forever
from anabranch.control.traffic.topic import PATIENCE_S
from anabranch.control.traffic.topics import TableTopics
from anabranch.errors import EngineError, RequestError, Unavailable
from anabranch.graph.monitor.windows import Result, Turn
from anabranch.router.addresses import Addresses, RouterAddress
from anabranch.router.backend import GraphState
from anabranch.router.errors import error_reply
from anabranch.router.later import AsyncAnswer, AsyncRequest
from anabranch.router.measure.tally import Report
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.feedback import RewardEntry, RewardOutcome
from anabranch.router.traffic.learned_state import Lessons
from anabranch.serve.attachment import is_attached
from anabranch.serve.calls.controller import ACTOR, NAMESPACE
from anabranch.serve.edge.tls.copies import VersionedCertificates
from anabranch.serve.export.exporter import start_exporting
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import start_heartbeat
from anabranch.serve.pools.entries import PoolTable, TenantState
from anabranch.serve.workers.environment import runtime_environment
from anabranch.telemetry.definitions import BUNDLE_BYTES_SENT
from anabranch.telemetry.registry import REGISTRY, Snapshot, merged
from anabranch.telemetry.span import Span
from anabranch.waiting import within

logger = logging.getLogger("anabranch.control")

_THREADS = 32
"""Serve, the store and installs are waited for in threads, so that the API always answers."""
_CALLS = 10_000
"""Most calls at a time; each router has one waiting for its next table."""
_TRY_S = 1.0


class Controller:
    """The actor's class."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        self._settings = settings
        self._bundles = BundleStore(settings.bundles, settings.bundle_store)
        self._topics = TableTopics()
        self._totals = ArmTotals()
        self._pools = Pools()
        self._process_sums = ProcessSums()
        if ray.is_initialized():  # the process is the controller's
            write_logs()
            start_exporting(tells=False)
            start_heartbeat()
        self._built: ControllerParts | None = None
        """Made once: each has a lease of its own, and would have to wait for the others'."""
        self._parts: ControllerParts | None = None
        """Once the lease is ours."""
        self._problem = "the controller is starting"
        self._told = asyncio.Event()
        """Set once the store is open and ours, or could not be opened."""
        self._running = asyncio.create_task(forever("the controller", self._live))

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> ApiAnswer:
        """Answer a request to the control API, on behalf of who asks."""
        try:
            parts = self._acting()
        except Unavailable as error:
            reply = error_reply(error, "control")
            headers = ((b"content-type", b"application/json"), *reply.headers)
            return reply.status, headers, bytes(reply.body)
        return await parts.api.handle(method, path, query, body, asker)

    async def bundle(self, name: str, start: int, most: int) -> tuple[int, bytes]:
        """Part of a bundle, or of a model that one has brought along, for another machine.

        ``name`` is that of the file; see ``DigestStore.part``.
        """
        digest, _, kind = name.partition(".")
        store = self._bundles.blobs if f".{kind}" == BLOB else self._bundles
        size, part = await asyncio.to_thread(store.part, digest, start, most)
        REGISTRY.number(BUNDLE_BYTES_SENT).value += len(part)
        return size, part

    async def alive(self) -> None:
        """Answer those who wait for another answer."""

    async def states(self) -> dict[str, GraphState]:
        """Every graph that should be live, by name; Unavailable before the store is ours."""
        return await self._acting().graphs.states()

    async def settle(self, timeout: float) -> dict[str, GraphState]:
        """Wait until nothing is left to do, at most ``timeout`` seconds; gives the states then.

        EngineError if the store is not ours by then, or cannot be opened.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._told.wait()
                if self._parts is not None:
                    await self._parts.reconciler.settled.wait()
        if self._parts is None:
            raise EngineError(self._problem)
        return await self.states()

    async def table(
        self, graph: str, replica: str, generation: int, address: RouterAddress | None = None
    ) -> RoutingTable | None:
        """The long poll of a router, see ``TableTopics``. Unavailable without the lease."""
        await self._published()
        return await self._topics.table(graph, replica, generation, address)

    async def model_table(self, model: str, replica: str, generation: int) -> RoutingTable | None:
        """The long poll of a process that uses a shared model, see ``TableTopics``; likewise."""
        await self._published()
        return await self._topics.table(model, replica, generation, is_router=False)

    async def model_spec(self, model: str, replica: str, revision: int) -> str:
        """The spec of a shared model's revision, for the same processes; likewise."""
        found = await asyncio.to_thread(self._acting().store.revision, model, revision)
        return found.spec

    async def addresses(self, follower: str, version: int) -> Addresses:
        """The long poll of those who send requests to routers; likewise."""
        await self._published()
        return await self._topics.addresses(follower, version)

    async def leave(self, graph: str, replica: str) -> None:
        """A router ends; returns once nobody sends it requests any more."""
        if self._parts is not None:
            self._parts.access.leave(f"{graph}/{replica}")
        await self._topics.leave(graph, replica)

    async def certificates(self, version: int) -> VersionedCertificates:
        """The long poll of edges on other machines for what the edge of this one has in force.

        Unavailable where nothing is.
        """
        return await certificates_of(self._settings, version)

    async def access(self, graph: str, follower: str, version: int) -> AccessTable:
        """The long poll of those who decide who may do what, see ``AccessBook``; likewise."""
        await self._published()
        return await self._acting().access.table(f"{graph}/{follower}", version)

    async def renew_keys(self, issuer: str, kid: str) -> None:
        """Ask an issuer of JWTs for its keys, see ``AccessBook``. Unavailable without the lease."""
        await self._acting().access.renew_keys(issuer, kid)

    async def pool(self, pool: str, replica: str, version: int) -> PoolTable | None:
        """The long poll of a pool's process, see ``Pools``. Unavailable without the lease."""
        await self._published()
        return await self._pools.table(pool, replica, version)

    async def tenants(self, pool: str, replica: str, states: Mapping[str, TenantState]) -> None:
        """Take what a pool's process tells of its graphs."""
        self._pools.take(pool, replica, states)

    async def report(self, graph: str, replica: str, report: Report) -> int:
        """Take the sums that a router has counted so far; return how many routers there are."""
        self._totals.take(graph, replica, report)
        return self._topics.routers(graph)

    async def counted(
        self, process: str, sums: Snapshot, base: Snapshot | None, is_last: bool
    ) -> bool:
        """Take the sums that a process has counted so far; see ``ProcessSums.take``."""
        return self._process_sums.take(process, sums, base, is_last)

    async def metrics(self) -> Snapshot:
        """Return the metrics of all processes of the engine, this one included."""
        return merged([self._process_sums.totals(), REGISTRY.snapshot()])

    async def remember(self, graph: str, replica: str, made: Sequence[tuple[str, bytes]]) -> None:
        """Remember a router's decisions, see ``DecisionMemory``. Unavailable without the lease."""
        self._acting().memory.remember(graph, made)

    async def recall(self, graph: str, replica: str, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return decisions of any router of the graph. Unavailable without the lease."""
        return self._acting().memory.recall(graph, ids)

    async def reward(
        self, graph: str, replica: str, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        """Count rewards of a router, see ``RewardCounter``. Unavailable without the lease."""
        return await self._acting().rewards.count(graph, entries)

    async def submit(self, graph: str, replica: str, request: AsyncRequest) -> AsyncAnswer:
        """Keep a request that is to be answered later; see ``AsyncKeeper``, as for the next two.

        Unavailable without the lease.
        """
        return await self._acting().later.submit(graph, request)

    async def look(self, graph: str, replica: str, id: str, owner: str | None) -> AsyncAnswer:
        """Return what became of an asynchronous request."""
        return await self._acting().later.look(graph, id, owner)

    async def withdraw(self, graph: str, replica: str, id: str, owner: str | None) -> AsyncAnswer:
        """Cancel an asynchronous request, or forget its reply."""
        return await self._acting().later.withdraw(graph, id, owner)

    async def learned(self, graph: str, replica: str, version: int) -> Lessons:
        """The long poll of whoever hosts routers that learn; see ``Bandits``."""
        await self._published()
        return await self._acting().bandits.learned(graph, version)

    async def monitored(
        self, graph: str, revision: int, results: Sequence[Result], turns: Sequence[Turn]
    ) -> None:
        """Take a revision's monitor results; see ``Monitors``. Unavailable without the lease."""
        await self._acting().monitors.take(graph, revision, results, turns)

    async def hung(self, graph: str, revision: int, node: str, seconds: float) -> None:
        """Log that a node has held the event loop of its process, which ends. Unavailable without
        the lease.
        """
        message = f"node {node!r} held the event loop for {seconds:g}s; its process is replaced"
        log, data = self._acting().store.log, {"node": node, "seconds": seconds}
        await asyncio.to_thread(log, graph, revision, "node_hung", message, data)

    async def traced(self, spans: Sequence[Span]) -> None:
        """Spans that are to be shown. Unavailable while the store is not ours."""
        self._acting().traces.take(spans)

    async def trace(self, trace_id: str) -> dict[str, Any]:
        """The spans of a trace, see ``RecentTraces.view``. NotFound without any."""
        return self._acting().traces.view(trace_id)

    async def _published(self) -> None:
        """Wait until all tables of the store are out; Unavailable if that does not come."""
        if self._parts is None:
            await within(PATIENCE_S, self._told)
            self._acting()

    def _acting(self) -> ControllerParts:
        if self._parts is None:
            raise Unavailable(self._problem)
        return self._parts

    async def _live(self) -> None:
        """Get hold of the store, then act on it; ends the process if the store is lost."""
        parts = self._built
        if parts is None:
            store = await self._opened()
            parts = self._built = ControllerParts(
                self._settings, store, self._topics, self._totals, self._pools, self._process_sums
            )
        while not await parts.acquire(_TRY_S):
            self._problem = "another controller holds the lease of the store"
        await parts.publish()
        self._parts = parts
        self._told.set()
        await parts.run()
        logger.critical("another controller has taken over the store; this one ends")
        os._exit(1)  # Ray starts it again, and it waits for its turn

    async def _opened(self) -> Store:
        try:
            return await asyncio.to_thread(Store.open, self._settings.store)
        except EngineError as error:
            self._problem = str(error)
            self._told.set()
            raise


def start_controller(settings: Settings) -> ActorHandle[Any]:
    """The controller, started on the node of the engine's home if it does not run."""
    home = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(Controller)
    attached = {"runtime_env": runtime_environment()} if is_attached() else {}
    configured = actor.options(
        name=ACTOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=_CALLS,
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(home, soft=not attached),
        **attached,
    )
    handle: ActorHandle[Any] = configured.remote(settings)
    return handle
