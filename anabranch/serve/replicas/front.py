"""The front for gRPC as a Serve deployment of its own: it dies with no graph; Serve restarts it.

Serve's own proxy for gRPC finds an application by a metadata field that clients of the protocol do
not send.
"""

from __future__ import annotations

from typing import Any

from ray import serve

from anabranch.router.grpc.servers import FrontServer
from anabranch.router.limits import RequestLimits
from anabranch.serve.calls.control_link import ControllerLink, token_digest
from anabranch.serve.export.logs import write_logs
from anabranch.serve.sockets import patiently
from anabranch.serve.workers.launcher import FORKED

FRONT_APP = "anabranch.grpc"
"""Has a dot, so that no graph can have the same name."""
_GRACE_S = 5.0
_HEALTH_PERIOD = 1.0
"""Seconds until Serve sees that a front has died."""


class FrontReplica:
    """The one replica of the front."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, digest: str, host: str, port: int, limits: RequestLimits
    ) -> None:
        write_logs()
        self._server = FrontServer(ControllerLink("front", digest), limits)
        await patiently(lambda: self._server.start(host, port))

    async def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            await server.stop(_GRACE_S)


def front_app(token: str, host: str, port: int, limits: RequestLimits) -> serve.Application:
    """The front's Serve application, which has no route; it runs on the engine's own machine."""
    decorate: Any = serve.deployment(
        name="front",
        ray_actor_options={
            "num_cpus": 0,
            "resources": {"node:__internal_head__": 0.001},
            "runtime_env": FORKED,
        },
        max_ongoing_requests=100,
        health_check_period_s=_HEALTH_PERIOD,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=2 * _GRACE_S,
    )
    return decorate(FrontReplica).bind(  # type: ignore[no-any-return]
        token_digest(token), host, port, limits
    )
