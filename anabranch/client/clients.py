"""The public clients of an engine: ``Client``, and ``AsyncClient`` for asyncio.

Both have the same methods, which ``operations`` and ``inference`` define.
"""

from __future__ import annotations

from typing import Self

import httpx

from anabranch.client import control, inference, operations
from anabranch.client.connection.session import connect
from anabranch.client.connection.trust import Authorities
from anabranch.client.http import TIMEOUT_S, AsyncTransport, Transport
from anabranch.client.methods import (
    async_method,
    async_stream_method,
    of_session,
    session_method,
    stream_method,
)


class Client:
    """Client of the engine at ``url``; if it is None, of the engine that the command line talks to.

    The command line talks to the engine at ``ANABRANCH_URL``, else to that of ``anabranch login``,
    else to that of this machine's home, which is ``ANABRANCH_HOME``, else ``~/.anabranch``.
    ``token`` is an API key, or the engine's token; None means the variable ``ANABRANCH_TOKEN``,
    else the key of an ``anabranch login`` to this engine, else, for the home's own engine, the
    token in the home. ``ca`` is a PEM file of the authorities that may have signed the engine's
    certificate, or an ``ssl.SSLContext``, such as one with a certificate of the client's; None
    means the file that ``ANABRANCH_CA`` names, else the public authorities. The certificate of the
    home's own engine needs no authority. ``timeout`` bounds each request, in seconds. ``transport``
    takes the place of the network, in tests. Threads may share a client. Use it as a context
    manager, or ``close`` it.

    Raise EngineError if no engine is running in the home, or ``ca`` holds no authorities.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        ca: Authorities | None = None,
        timeout: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.session = connect(url, token, ca)
        self.transport = Transport(
            self.session.url, self.session.token, timeout, transport, self.session.verify
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.session.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    deploy = session_method(operations.deploy)
    infer = session_method(inference.infer)
    stream = stream_method(inference.stream)
    explain = session_method(inference.explain)
    feedback = session_method(inference.feedback)
    status = session_method(operations.status)
    traffic = session_method(operations.traffic)
    promote = session_method(of_session(control.promote))
    abort = session_method(of_session(control.abort))
    rollback = session_method(of_session(control.rollback))
    rollout = session_method(operations.rollout)
    history = session_method(operations.history)
    logs = session_method(operations.logs)
    events = session_method(operations.events)
    delete = session_method(operations.delete)
    api_keys = session_method(of_session(control.api_keys))
    create_key = session_method(of_session(control.create_key))
    rotate_key = session_method(of_session(control.rotate_key))
    revoke_key = session_method(of_session(control.revoke_key))
    check_access = session_method(of_session(control.check_access))
    me = session_method(of_session(control.me))


class AsyncClient:
    """Client of an engine as ``Client`` is, whose methods are coroutines.

    Any number of them may run at a time, on one event loop. Use it as an asynchronous context
    manager, or ``close`` it.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        ca: Authorities | None = None,
        timeout: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.session = connect(url, token, ca)
        self.transport = AsyncTransport(
            self.session.url, self.session.token, timeout, transport, self.session.verify
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.session.url!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self.transport.close()

    deploy = async_method(operations.deploy)
    infer = async_method(inference.infer)
    stream = async_stream_method(inference.stream)
    explain = async_method(inference.explain)
    feedback = async_method(inference.feedback)
    status = async_method(operations.status)
    traffic = async_method(operations.traffic)
    promote = async_method(of_session(control.promote))
    abort = async_method(of_session(control.abort))
    rollback = async_method(of_session(control.rollback))
    rollout = async_method(operations.rollout)
    history = async_method(operations.history)
    logs = async_method(operations.logs)
    events = async_method(operations.events)
    delete = async_method(operations.delete)
    api_keys = async_method(of_session(control.api_keys))
    create_key = async_method(of_session(control.create_key))
    rotate_key = async_method(of_session(control.rotate_key))
    revoke_key = async_method(of_session(control.revoke_key))
    check_access = async_method(of_session(control.check_access))
    me = async_method(of_session(control.me))
