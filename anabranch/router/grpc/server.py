"""A gRPC server with the limits that HTTP has, and gRPC's own health and reflection services."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection, reflection_pb2

from anabranch.components.contracts.seldon.protos import described
from anabranch.errors import EngineError
from anabranch.router.between_nodes import AUTHORITY, NODE, far_address, node_folder
from anabranch.router.grpc.messages import POOL, SERVICE
from anabranch.router.grpc.seldon.messages import SELDON
from anabranch.router.limits import RequestLimits

SERVING = health_pb2.HealthCheckResponse.SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

MAX_STREAMS = 1024
"""Calls at a time on one connection."""
_HANDSHAKE_MS = 10_000
"""Time for a new connection to begin to speak HTTP/2."""
_IDLE_MS = 300_000
"""A connection without a call for so long is closed."""
_KEEPALIVE_MS = 60_000
"""A connection without data for so long is asked whether it is there."""
_KEEPALIVE_TIMEOUT_MS = 10_000
_PING_EVERY_MS = 10_000
"""Clients that ask so more often are told to go."""
NODES_PING_EVERY_MS = 1_000
"""The same for other nodes of the engine."""


def options(limits: RequestLimits, pings: int = _PING_EVERY_MS) -> list[tuple[str, int]]:
    """Options of a server: sizes in bytes, times in milliseconds."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.max_body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_headers),
        ("grpc.absolute_max_metadata_size", limits.max_headers),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", pings),
    ]


class GrpcServer:
    """One gRPC server; everything of it is on the loop that it is started on."""

    def __init__(
        self, handlers: Iterable[Any], limits: RequestLimits, pings: int = _PING_EVERY_MS
    ) -> None:
        self._server: Any = grpc.aio.server(
            handlers=tuple(handlers), options=options(limits, pings)
        )
        self._health: Any = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, SELDON, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=_reflected())

    def bind(self, host: str, port: int = 0, credentials: Any = None) -> int:
        """Take a port, which 0 leaves to the system; EngineError where it is taken.

        With ``credentials`` gRPC's own, it speaks TLS.
        """
        address = far_address(host, port)
        try:
            found: int = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError:
            raise EngineError(f"port {port} on {host} is in use or not to be had") from None
        return found

    async def start_unix(self, path: Path) -> None:
        """Start with a Unix socket that only this user may reach, in place of one that is there.

        gRPC removes the file by its first name when the server stops, whoever has the name then,
        so each server binds a name of its own and moves the file.
        """
        own = path.with_name(f"{os.urandom(4).hex()}.new")
        self._server.add_insecure_port(f"unix:{own}")
        own.chmod(stat.S_IRUSR | stat.S_IWUSR)
        await self.start()
        own.replace(path)

    async def start(self) -> None:
        """Answer at all that is bound."""
        await self._server.start()
        for service in (SERVICE, SELDON):
            await self._health.set(service, SERVING)

    async def health(self, service: str, status: int) -> None:
        """Set what the health service says of a service."""
        await self._health.set(service, status)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those in progress ``grace`` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


def node_credentials() -> Any:
    """Return what a server for other nodes speaks, as gRPC has it; None where there are none."""
    folder = node_folder()
    if folder is None:
        return None
    node, authority = ((folder / name).read_bytes() for name in (NODE, AUTHORITY))
    return grpc.ssl_server_credentials([(node, node)], authority, require_client_auth=True)


def _reflected() -> DescriptorPool:
    """The descriptors of all services; a pool of its own, as the protocol's is."""
    pool = DescriptorPool()
    for file in (
        POOL.FindFileContainingSymbol(SERVICE),
        health_pb2.DESCRIPTOR,
        reflection_pb2.DESCRIPTOR,
    ):
        found = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(found)
        pool.Add(found)
    for found in described():
        pool.Add(found)
    return pool
