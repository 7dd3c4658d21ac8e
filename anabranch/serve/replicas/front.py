"""The front for gRPC as a Serve deployment of its own: it dies with no graph; Serve restarts it.

It is behind the edge, or on the public port where there is none.

Serve's own proxy for gRPC finds an application by a metadata field that clients of the protocol do
not send.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve

from anabranch.router.grpc.servers import FrontServer
from anabranch.router.limits import RequestLimits
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import end_heartbeat, start_heartbeat
from anabranch.serve.replicas.gateway import Listen
from anabranch.serve.sockets import FRONT_SOCKET, patiently, unix_folder
from anabranch.serve.workers.launcher import FORKED

FRONT_APP = "anabranch.grpc"
"""Has a dot, so that no graph can have the same name."""
_GRACE_S = 5.0
_HEALTH_PERIOD = 1.0
"""Seconds until Serve sees that a front has died."""


class FrontReplica:
    """The one replica of the front; it answers the calls that the edge sends to no graph's router.

    With ``listen`` it stands in front itself, at that host and port.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, limits: RequestLimits, listen: Listen | None
    ) -> None:
        write_logs()
        start_heartbeat()
        self._control = ControllerLink("front")
        self._control.follow()
        self._server = FrontServer(self._control, limits)
        folder = unix_folder()
        if listen is not None:
            await patiently(lambda: self._server.start(*listen))
        elif folder is not None:
            await self._server.start_unix(folder / FRONT_SOCKET)

    async def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            end_heartbeat()
            await asyncio.gather(server.stop(_GRACE_S), self._control.close())


def front_app(limits: RequestLimits, listen: Listen | None) -> serve.Application:
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
        limits, listen
    )
