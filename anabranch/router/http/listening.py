"""The lean server: one ASGI application on any number of listening sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from typing import Any, cast

from uvicorn.config import Config

from anabranch.router.between_nodes import of_server
from anabranch.router.http.lean import LeanProtocol
from anabranch.router.http.lean_state import EdgeGate, LeanState

BACKLOG = 2048
"""Connections that may wait to be accepted."""
MANY_HANDLES = 16
"""Handles of a listening socket, for routers that have a process of their own. Libuv accepts one
connection of each in a turn of the loop: while turns take long, requests on all others wait where
nobody can refuse them."""
_LOOK_S = 0.01
_ABORT_S = 1.0
"""How long requests that are given up may take to end, in seconds."""


class LeanServer:
    """Serves an application over HTTP/1.1; made and used on one event loop.

    It takes as many ``handles`` of each listening socket, and accepts a connection of each at a
    time. ``gate`` hears what the edge says, and its limit is told in replies.
    """

    def __init__(self, app: Any, handles: int = 1, gate: EdgeGate | None = None) -> None:
        self._handles = handles
        self._config = Config(
            app, http=LeanProtocol, interface="asgi3", lifespan="off", ws="none",
            log_config=None, access_log=False, proxy_headers=False,
        )  # fmt: skip
        self._state = LeanState(gate)
        self._servers: list[asyncio.Server] = []

    @property
    def under_way(self) -> int:
        """How many requests are being answered, or wait behind another of their connection."""
        return sum(connection.under_way for connection in self._connections)

    @property
    def _connections(self) -> list[LeanProtocol]:
        return cast("list[LeanProtocol]", list(self._state.connections))

    def protocol(self, is_believed: bool = False) -> LeanProtocol:
        """Return the protocol of a new connection; one of the edge is believed whom it names."""
        return LeanProtocol(self._config, self._state, is_believed=is_believed)

    def guest(self) -> LeanProtocol:
        """Return the protocol of a new connection that no proxy has made.

        There are at most MAX_GUESTS: beyond, those go that are idle for longest.
        """
        return LeanProtocol(self._config, self._state, is_guest=True)

    async def listen(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None, has_guests: bool = False
    ) -> None:
        """Accept connections on a bound socket, of TCP or Unix, which is the server's from here on.

        ``has_guests``: no proxy stands before it. What a proxy says of its clients is believed on
        Unix sockets, and with ``tls``, which only the engine's nodes speak. Raises OSError where it
        cannot listen.
        """
        loop = asyncio.get_running_loop()
        is_unix = sock.family == socket.AF_UNIX
        protocol = self.guest if has_guests else partial(self.protocol, is_unix or tls is not None)
        listen = loop.create_unix_server if is_unix else loop.create_server
        options = {"backlog": BACKLOG, **of_server(tls)}
        for number in range(self._handles):
            handle = sock.dup() if number else sock
            self._servers.append(await listen(protocol, sock=handle, **options))

    async def close(self, seconds: float) -> None:
        """Stop listening, and end every connection with the last request that has come on it.

        Requests that are not answered within ``seconds`` are given up.
        """
        self._state.closing = True
        for server in self._servers:
            server.close()
        try:
            async with asyncio.timeout(seconds):
                await self._ended()
        except TimeoutError:
            await self._abort()

    async def _ended(self) -> None:
        """Wait until no connection is left: an idle one is closed once what has come is read."""
        while self._state.connections or self._state.tasks:
            await asyncio.sleep(_LOOK_S)
            for connection in self._connections:
                connection.shutdown()

    async def _abort(self) -> None:
        self._state.replies.flush()
        for connection in self._connections:
            connection.transport.abort()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_ABORT_S)
