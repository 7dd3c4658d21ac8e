"""The router of a graph as a Serve deployment: the ingress, with a revision's head inside."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import ray
from ray import serve

from anabranch.router.grpc.servers import RouterServer
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.metrics import Metrics
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.router.traffic.polling import RouterSync
from anabranch.router.traffic.samples import Samples, counted_samples
from anabranch.serve.calls.controller import ControllerSource
from anabranch.serve.calls.explanations import HandleExplain
from anabranch.serve.calls.remote_head import Heads
from anabranch.serve.replicas.base import ComponentReplica
from anabranch.serve.replicas.head import HostedHead
from anabranch.serve.scaling.policy import ONGOING, REQUESTS

_FAREWELL_S = 0.3
"""Time in which the front takes a router off its list."""


class RouterReplica(ComponentReplica):
    """One replica of a graph's router; it answers ``/v2/models/<graph>``.

    It carries ``revision``, whose spec is at the path ``spec`` of the bundle and whose other
    segments are in the Serve application ``segments_app``. It serves once it has a routing table.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, graph: str, spec: str, revision: int, segments_app: str, limits: RequestLimits
    ) -> None:
        self._hosted = hosted = await HostedHead.start(spec, segments_app)
        self._timeout = hosted.plan.timeout
        heads = Heads(graph, revision, hosted.head)
        samples = Samples(limits, counted_samples(graph))
        replica = _replica()
        self._logs = RequestLogs(graph, replica, LogSettings.from_env())
        explainers = partial(HandleExplain, graph)
        self._arms = Arms(
            graph, heads, limits, explainers=explainers, samples=samples,
            sampler=hosted.sampler(), logs=self._logs,
        )  # fmt: skip
        self._source = ControllerSource(graph, replica)
        self._feedback = Feedback(self._arms, self._source)
        self._metrics = Metrics(graph)
        self._sync = RouterSync(self._arms, self._source, self._metrics)
        self._rpc = RouterServer(self._arms)
        await self._rpc.start(rpc_host())
        await self._sync.start()
        # Not before there is a table to answer by.
        self._source.address = self._rpc.address

    def __serve_build_asgi_app__(self) -> GraphApp:
        """Serve's hook for an application that is made in the replica."""
        return GraphApp(self._arms, sends_id=False, feedback=self._feedback)

    async def wake(self) -> None:
        """For the front: a call that waits until there is a router, and so has Serve start one."""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        gate = self._arms.gate
        return {ONGOING: gate.inside, REQUESTS: gate.passed}

    async def _close(self) -> None:
        if hasattr(self, "_sync"):
            await self._sync.close()
            await self._source.leave()
            await self._end_calls()
            await asyncio.to_thread(self._logs.close)
            self._metrics.flush(self._arms.report())

    async def _end_calls(self) -> None:
        """Let gRPC calls end: the front has to hear first that there will be no more."""
        await asyncio.sleep(_FAREWELL_S)
        await self._rpc.stop(self._timeout)


def rpc_host() -> str:
    """The address of this node on which routers answer gRPC: loopback where the engine is."""
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return host


def _replica() -> str:
    """A name that no other replica of the graph's router has, or has had."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except serve.exceptions.RayServeException:
        return os.urandom(8).hex()


RouterIngress = serve.ingress()(RouterReplica)
"""Router, as Serve takes it: called with ASGI's scope, receive and send, with no request object."""
