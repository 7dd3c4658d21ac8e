"""The router of a graph as a Serve deployment, with a revision's head inside."""

from __future__ import annotations

import asyncio
import os
from functools import partial

from ray import serve

from anabranch.errors import EngineError
from anabranch.graph.plan.plan import Plan
from anabranch.router.addresses import RouterAddress
from anabranch.router.grpc.lean_calls import LeanCalls, beside
from anabranch.router.grpc.servers import RouterServer
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.metrics import Metrics
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.router.traffic.polling import RouterSync
from anabranch.router.traffic.samples import Samples, counted_samples
from anabranch.serve.calls.controller import ControllerSource
from anabranch.serve.calls.explanations import RemoteExplainers
from anabranch.serve.calls.remote_head import Heads
from anabranch.serve.own_port import OwnPort, own_host
from anabranch.serve.replicas.answering import node_host
from anabranch.serve.replicas.base import ComponentReplica, StartError
from anabranch.serve.replicas.head import HostedHead
from anabranch.serve.scaling.policy import ONGOING, REQUESTS
from anabranch.serve.sockets import forget, own_listener

_FAREWELL_S = 0.2
"""Time for requests that were sent before all knew that the router goes."""


class RouterReplica(ComponentReplica):
    """One replica of a graph's router; it answers ``/v2/models/<graph>`` at an own socket.

    It carries ``revision``, whose spec is at the path ``spec`` of the bundle and whose other
    segments are in the Serve application ``segments_app``. It serves once it has a routing table.
    """

    _port: OwnPort | None = None
    """The graph's own port, where it has one."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, graph: str, spec: str, revision: int, segments_app: str, limits: RequestLimits
    ) -> None:
        self._hosted = hosted = await HostedHead.start(spec, segments_app)
        self._timeout = hosted.plan.timeout
        heads = Heads(graph, revision, hosted.head)
        samples = Samples(limits, counted_samples(graph))
        replica = _replica()
        self._logs = RequestLogs(graph, replica, LogSettings.from_env())
        explainers = partial(RemoteExplainers, graph)
        self._arms = Arms(
            graph, heads, limits, explainers=explainers, samples=samples,
            sampler=hosted.sampler(), logs=self._logs,
        )  # fmt: skip
        self._source = ControllerSource(graph, replica)
        self._feedback = Feedback(self._arms, self._source)
        self._metrics = Metrics(graph)
        self._sync = RouterSync(self._arms, self._source, self._metrics)
        self._grpc = RouterServer(self._arms)
        graph_app = GraphApp(self._arms, feedback=self._feedback)
        self._http = LeanServer(beside(graph_app, LeanCalls(self._arms)))
        await self._grpc.start(node_host())
        listener, self._address = own_listener(node_host())
        await self._http.listen(listener)
        await self._sync.start()
        # Not before there is a table to answer by, and before the next poll, which tells it.
        self._source.address = RouterAddress(self._grpc.address, self._address)
        self._port = await self._own_port(hosted.plan)

    async def _own_port(self, plan: Plan) -> OwnPort | None:
        """Answer at the graph's own port, if it has one; StartError where something else has it."""
        if plan.port is None:
            return None
        try:
            return await OwnPort.open(plan.name, own_host(node_host()), plan.port, self._http)
        except EngineError as error:
            await self._source.leave()
            raise StartError(str(error)) from None

    async def wake(self) -> None:
        """A call that waits until there is a router: Serve starts one for it."""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        gate = self._arms.gate
        return {ONGOING: gate.inside, REQUESTS: gate.passed}

    async def _close(self) -> None:
        if hasattr(self, "_sync"):
            if self._port is not None:
                await self._port.close()
            await self._source.leave()
            await self._end_requests()
            await self._sync.close()
            await self._source.leave()  # polls have told of this router since
            await asyncio.to_thread(self._logs.close)
            self._metrics.flush(self._arms.report())

    async def _end_requests(self) -> None:
        """Let requests end, those too that were on their way when the router left."""
        await asyncio.sleep(_FAREWELL_S)
        await asyncio.gather(self._http.close(self._timeout), self._grpc.stop(self._timeout))
        forget(self._address)


def _replica() -> str:
    """A name that no other replica of the graph's router has, or has had."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except serve.exceptions.RayServeException:
        return os.urandom(8).hex()
