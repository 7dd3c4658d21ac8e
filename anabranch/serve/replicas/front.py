"""The front for gRPC as a Serve deployment of its own: it dies with no graph; Serve restarts it.

It is behind the edge, or on the public port where there is none. Each machine that takes ingress
has a front of its own, in an application of its own.

Serve's own proxy for gRPC finds an application by a metadata field that clients of the protocol do
not send.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from ray import serve

from anabranch.router.grpc.servers import FrontServer
from anabranch.router.limits import RequestLimits
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.export.exporter import start_exporting, stop_exporting
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import end_heartbeat, start_heartbeat
from anabranch.serve.replicas.gateway import GRACE_S, Listen, of_machine
from anabranch.serve.sockets import EDGE, FRONT_SOCKET, patiently, unix_folder

FRONT_APP = "anabranch.grpc"
"""Has a dot, so that no graph can have the same name."""


class FrontReplica:
    """The front of a machine; it answers calls that the edge there sends to no graph's router.

    Where the machine has no edge it stands in front itself, at the host and port ``listen``.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, limits: RequestLimits, listen: Listen
    ) -> None:
        write_logs()
        start_exporting()
        start_heartbeat()
        self._control = ControllerLink("front")
        self._control.follow()
        self._server = FrontServer(self._control, limits)
        folder = unix_folder()
        if not os.environ.get(EDGE):
            await patiently(lambda: self._server.start(*listen))
        elif folder is not None:
            await self._server.start_unix(folder / FRONT_SOCKET)

    async def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            end_heartbeat()
            await asyncio.gather(server.stop(GRACE_S), self._control.close())
            await asyncio.to_thread(stop_exporting)


def front_app(
    bound: Mapping[str, float], limits: RequestLimits, listen: Listen
) -> serve.Application:
    """The Serve application of a front, which has no route; ``bound`` is a machine's resource."""
    return of_machine("front", FrontReplica, bound, limits, listen)
