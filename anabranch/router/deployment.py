"""The router of a graph as a Serve deployment: the ingress, with the revision's head inside."""

from __future__ import annotations

from ray import serve

from anabranch.graph.executor import HeadExecutor
from anabranch.graph.lowering.hosting import Hosted
from anabranch.graph.lowering.segments import HandleCall
from anabranch.graph.plan import HEAD
from anabranch.router.asgi import GraphApp
from anabranch.router.core import InferenceCore
from anabranch.router.limits import Limits


class Router:
    """One replica of a graph's router; it answers ``/v2/models/<graph>``.

    ``segments_app`` is the Serve application that holds the revision's other segments.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: str, revision: int, segments_app: str, limits: Limits
    ) -> None:
        self._hosted = hosted = await Hosted.start(spec, HEAD)
        plan = hosted.loaded.plan
        calls = {
            segment.name: HandleCall(
                segment.name, serve.get_deployment_handle(segment.name, segments_app)
            )
            for segment in plan.segments[1:]
        }
        self._executor = HeadExecutor(plan, hosted.bound, calls)
        self._core = InferenceCore(plan, self._executor, limits, revision)

    def __serve_build_asgi_app__(self) -> GraphApp:
        """Serve's hook for an application that is made in the replica."""
        return GraphApp(self._core, sends_id=False)

    async def check_health(self) -> None:
        """Serve's health check: that of the head's components."""
        await self._hosted.check_health()

    async def __del__(self) -> None:
        hosted = getattr(self, "_hosted", None)
        if hosted is not None:
            await hosted.unload()


RouterIngress = serve.ingress()(Router)
"""Router, as Serve takes it: called with ASGI's scope, receive and send, with no request object."""
