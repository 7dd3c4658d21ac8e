"""The router of a graph as a Serve deployment: the ingress, with a revision's head inside."""

from __future__ import annotations

import os

from ray import serve

from anabranch.router.arms import Arms
from anabranch.router.asgi import GraphApp
from anabranch.router.heads import Heads, HostedHead
from anabranch.router.limits import Limits
from anabranch.router.metrics import Metrics
from anabranch.router.polling import ControllerSource, Follower


class Router:
    """One replica of a graph's router; it answers ``/v2/models/<graph>``.

    It carries ``revision``, whose spec is at the path ``spec`` of the bundle and whose other
    segments are in the Serve application ``segments_app``. It serves once it has a routing table.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, graph: str, spec: str, revision: int, segments_app: str, limits: Limits
    ) -> None:
        self._hosted = await HostedHead.start(spec, segments_app)
        self._arms = Arms(graph, Heads(graph, revision, self._hosted.head), limits)
        self._source = ControllerSource(graph, _replica())
        self._follower = Follower(self._arms, self._source, Metrics(graph))
        await self._follower.start()

    def __serve_build_asgi_app__(self) -> GraphApp:
        """Serve's hook for an application that is made in the replica."""
        return GraphApp(self._arms, sends_id=False)

    async def check_health(self) -> None:
        """Serve's health check: that of the head's components."""
        await self._hosted.check_health()

    async def __del__(self) -> None:
        follower, hosted = getattr(self, "_follower", None), getattr(self, "_hosted", None)
        if follower is not None:
            await follower.close()
            await self._source.leave()
        if hosted is not None:
            await hosted.unload()


def _replica() -> str:
    """A name that no other replica of the graph's router has, or has had."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except serve.exceptions.RayServeException:
        return os.urandom(8).hex()


RouterIngress = serve.ingress()(Router)
"""Router, as Serve takes it: called with ASGI's scope, receive and send, with no request object."""
