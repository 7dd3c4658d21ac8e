"""Answers calls: what a replica runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from functools import partial

from anabranch.router.between_nodes import of_server
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.served import CallSessions, Method, ServedCalls, StreamMethod
from anabranch.serve.streams.session import CallSession
from anabranch.waiting import within

HEED_S = 1.0
"""Seconds that cancelled calls have to end before they are left behind."""


class CallServer:
    """Answers the calls of all callers of a replica, by the names of its methods.

    A call begins outside of tasks: a method that needs a task before it first waits must await
    ``in_task()``. Values that it returns or yields may change afterwards.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        streams: Mapping[str, StreamMethod],
        secret: bytes,
        limits: CallLimits | None = None,
    ) -> None:
        if not secret:
            raise ValueError("calls need a secret")
        self._served = ServedCalls(methods, streams, secret, limits or CallLimits())
        self._listening: list[asyncio.Server] = []
        self._sessions = CallSessions()

    @property
    def under_way(self) -> int:
        """Calls and streams that are at work, also those for which nobody waits any more."""
        return self._served.under_way

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Answer on a socket that listens, a Unix socket or one of TCP; it is closed with this.

        With ``tls``, only to those who have certificates that it takes.
        """
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        session = partial(CallSession, self._served, self._sessions)
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(session, sock=listener)
        else:
            server = await loop.create_server(session, sock=listener, **of_server(tls))
        self._listening.append(server)

    async def close(self, seconds: float) -> None:
        """Take no more calls, and finish those under way within so many seconds; cancel the rest.

        Each caller closes its connection once it has its answers, so that no call is lost that
        was on its way here.
        """
        self._served.is_closing = True
        for server in self._listening:
            server.close()
        for session in self._sessions:
            session.go_away()
        await within(seconds, self._sessions.none_left)
        for session in self._sessions:
            session.abort()
        await self._sessions.none_left.wait()
        await self._served.all_done(HEED_S)
