"""The router of a graph as a Serve deployment, with a revision's head inside."""

from __future__ import annotations

import os

from ray import serve

from anabranch.errors import EngineError
from anabranch.graph.plan.plan import Plan
from anabranch.router.limits import RequestLimits
from anabranch.serve.node import node_host
from anabranch.serve.own_port import OwnPort, opened_port, own_host
from anabranch.serve.replicas.base import ComponentReplica, StartError
from anabranch.serve.replicas.graph_router import GraphRouter
from anabranch.serve.replicas.head import HostedHead
from anabranch.serve.scaling.policy import ONGOING, REQUESTS


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
        self._router = GraphRouter(graph, revision, hosted, limits, _replica())
        await self._router.start()
        self._port = await self._own_port(hosted.plan)

    async def _own_port(self, plan: Plan) -> OwnPort | None:
        """Answer at the graph's own port, if it has one; StartError where something else has it."""
        port = opened_port(plan.name, plan.port)
        if port is None:
            return None
        router = self._router
        try:
            return await OwnPort.open(plan.name, own_host(node_host()), port, router.http)
        except EngineError as error:
            await router.source.leave()
            raise StartError(str(error)) from None

    async def wake(self) -> None:
        """A call that waits until there is a router: Serve starts one for it."""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        gate = self._router.gate
        return {ONGOING: gate.inside, REQUESTS: gate.passed}

    async def _close(self) -> None:
        if hasattr(self, "_router"):
            if self._port is not None:
                await self._port.close()
            await self._router.close()


def _replica() -> str:
    """A name that no other replica of the graph's router has, or has had."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except serve.exceptions.RayServeException:
        return os.urandom(8).hex()
