"""The socket on which the edge listens, which outlives every HAProxy that accepts from it."""

from __future__ import annotations

import asyncio
import socket

from anabranch.errors import EngineError

_POLL_S = 0.005


async def listen(host: str, port: int, backlog: int, patience: float) -> socket.socket:
    """Return a socket that listens there; EngineError if the port is taken.

    ``patience`` is the time in seconds that its present owner has to let go of it.
    """
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
