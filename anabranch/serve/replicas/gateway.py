"""The gateway as a Serve deployment: behind the edge, or on the public port where there is none.

Each machine that takes ingress has a gateway of its own, in an application of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from ray import serve

from anabranch.router.gateway.app import Gateway
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.http.doors.engine_protocols import engine_protocols
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.export.exporter import start_exporting, stop_exporting
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import end_heartbeat, start_heartbeat
from anabranch.serve.sockets import (
    EDGE,
    GATEWAY_SOCKET,
    patiently,
    tcp_listener,
    unix_folder,
    unix_listener,
)
from anabranch.serve.workers.environment import runtime_environment

GATEWAY_APP = "anabranch.gateway"
"""Has a dot, so that no graph can have the same name."""
GRACE_S = 5.0
"""Seconds that requests under way have at the end."""
_HEALTH_PERIOD = 1.0
"""Seconds until Serve sees that a gateway or a front has died."""

Listen: TypeAlias = tuple[str, int]
"""Host and port."""


class GatewayReplica:
    """The gateway of a machine; it answers all that the edge there sends to no graph's router.

    Where the machine has no edge it stands in front itself, at the host and port ``listen``.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        limits: RequestLimits,
        max_upload: int,
        loopback: bool,
        listen: Listen,
    ) -> None:
        write_logs()
        start_exporting()
        start_heartbeat()
        self._control = control = ControllerLink("gateway")
        protocols = engine_protocols()
        self._forwarder = Forwarder(control, limits, protocols)
        gateway = Gateway(
            control,
            limits,
            self._forwarder,
            max_upload=max_upload,
            loopback=loopback,
            protocols=protocols,
        )
        self._server = LeanServer(gateway)
        control.follow()
        self._forwarder.start()
        if not os.environ.get(EDGE):
            await patiently(lambda: self._open(*listen))
        folder = unix_folder()
        if folder is not None:
            await self._server.listen(unix_listener(folder / GATEWAY_SOCKET))

    async def _open(self, host: str, port: int) -> None:
        await self._server.listen(tcp_listener(host, port), has_guests=True)

    async def __del__(self) -> None:
        if hasattr(self, "_server"):
            end_heartbeat()
            await self._server.close(GRACE_S)
            await asyncio.gather(self._forwarder.close(), self._control.close())
            await asyncio.to_thread(stop_exporting)


def gateway_app(
    bound: Mapping[str, float],
    limits: RequestLimits,
    max_upload: int,
    loopback: bool,
    listen: Listen,
) -> serve.Application:
    """The Serve application of a gateway, which has no route; ``bound`` is a machine's resource."""
    return of_machine("gateway", GatewayReplica, bound, limits, max_upload, loopback, listen)


def of_machine(
    name: str, kind: type, bound: Mapping[str, float], *arguments: object
) -> serve.Application:
    """The application of one replica, without a route, that a machine's resource binds to it."""
    decorate: Any = serve.deployment(
        name=name,
        ray_actor_options={
            "num_cpus": 0,
            "resources": bound,
            "runtime_env": runtime_environment(),
        },
        max_ongoing_requests=100,
        health_check_period_s=_HEALTH_PERIOD,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=2 * GRACE_S,
    )
    application: serve.Application = decorate(kind).bind(*arguments)
    return application
