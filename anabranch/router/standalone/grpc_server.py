"""The gRPC face of a process with one graph."""

from __future__ import annotations

import grpc

from anabranch.router.backend import ControlBackend
from anabranch.router.grpc.calls import FrontMessages
from anabranch.router.grpc.front import ServerMethods
from anabranch.router.grpc.messages import SERVICE
from anabranch.router.grpc.server import SERVING, GrpcServer
from anabranch.router.grpc.servers import graph_handlers
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback


class StandaloneGrpc:
    """A gRPC server for one graph, with the methods about the server as a whole."""

    def __init__(self, arms: Arms, feedback: Feedback, backend: ControlBackend) -> None:
        self._graph = arms.name
        server = ServerMethods(backend, FrontMessages(arms.limits), lambda: True)
        handlers = [
            grpc.method_handlers_generic_handler(SERVICE, server.handlers()),
            *graph_handlers(arms, feedback),
        ]
        self._server = GrpcServer(handlers, arms.limits)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. EngineError where it is taken."""
        found = self._server.bind(host, port)
        await self._server.start()
        await self._server.health(self._graph, SERVING)
        return found

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._server.stop(grace)
