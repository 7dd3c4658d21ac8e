"""The sockets on which the edge listens, which outlive every HAProxy that accepts from them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from anabranch.errors import EngineError

HTTP, GRPC = "EDGE_HTTP", "EDGE_GRPC"
"""Environment variables with the numbers of the sockets that HAProxy inherits."""
_POLL_S = 0.005


@dataclass(frozen=True)
class EdgeAddress:
    """The host and the ports on which the edge listens."""

    host: str
    http: int
    grpc: int


async def listen(
    address: EdgeAddress, backlog: int, patience: float
) -> Mapping[str, socket.socket]:
    """Return the sockets that listen there, by variable; EngineError if a port is taken.

    ``patience`` is the time in seconds that a port's present owner has to let go of it.
    """
    with ExitStack() as opened:
        found = {}
        for name, port in ((HTTP, address.http), (GRPC, address.grpc)):
            found[name] = await _listening(address.host, port, backlog, patience)
            opened.enter_context(found[name])
        opened.pop_all()
        return found


async def _listening(host: str, port: int, backlog: int, patience: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return _listen(host, port, backlog)
        except OSError as error:
            if loop.time() >= deadline:
                reason = error.strerror or str(error)
                raise EngineError(f"cannot listen on {host}:{port}: {reason}") from error
        await asyncio.sleep(_POLL_S)


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=backlog)
