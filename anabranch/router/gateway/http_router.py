"""The connections to one router over HTTP/1.1, and one request over them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager

import httpx

from anabranch.errors import Interrupted, InvalidRequest, Unavailable
from anabranch.router.between_nodes import CALLING_MS, NAME, client_tls, probed
from anabranch.router.gateway.forwarded_body import ForwardedBody
from anabranch.router.gateway.headers import answer_headers, request_headers, target
from anabranch.router.http.app import StreamedReply
from anabranch.router.http.request import HttpRequest
from anabranch.router.large_reply import STALLED_S
from anabranch.telemetry.outlet import line_of

REFUSED_S = 0.5
"""Time for which a router that refused a connection is not asked."""
_UNIX = "unix@"
_CONNECT_S = 1.0
# Shorter than the time for which a router keeps a connection: it does not close one that is just
# being used again.
_LIMITS = httpx.Limits(max_connections=1, keepalive_expiry=60.0)
_MAX_IDLE = 64
"""Connections to one router that are kept for later requests."""
# For Unix sockets, on which nothing is encrypted: to make one for each connection would take longer
# than to connect.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# The answer may take as long as the router lets it.
_TIMES = httpx.Timeout(None, connect=_CONNECT_S, write=STALLED_S).as_dict()

logger = logging.getLogger("anabranch.router")


class RouterUnreachable(Unavailable):
    """No connection to a router came about: nothing of the request was sent."""


class RouterEnded(Interrupted):
    """The connection to a router broke after some of the request may have been sent."""


class HttpRouter:
    """One router, at an ``address`` as in ``RouterAddress.http``."""

    def __init__(self, address: str) -> None:
        self.inside = 0
        """How many requests it answers for this gateway."""
        is_unix = address.startswith(_UNIX)
        self._path = address.removeprefix(_UNIX) if is_unix else None
        self._tls = None if is_unix else client_tls()
        scheme = "http" if self._tls is None else "https"
        self._url = httpx.URL("http://router" if is_unix else f"{scheme}://{address}")
        self._options = None if is_unix else probed(CALLING_MS)
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._refused = float("-inf")
        self._most_idle = _MAX_IDLE

    async def pass_on(self, request: HttpRequest, body: ForwardedBody) -> StreamedReply:
        """Have the router answer a request; returns with the first piece of the answer's body.

        Raises RouterUnreachable, RouterEnded, InvalidRequest, and as the body does.
        """
        async with AsyncExitStack() as held:
            connection = await held.enter_async_context(self._connection())
            response = await self._send(connection, request, body)
            held.push_async_callback(response.aclose)
            headers = answer_headers(response.headers.raw)
            rest = _pieces(response, held.pop_all())
            # It has to begin here: a generator that has not begun releases nothing when closed.
            return StreamedReply(response.status_code, headers, await anext(rest, b""), rest)

    async def _send(
        self, connection: httpx.AsyncHTTPTransport, request: HttpRequest, body: ForwardedBody
    ) -> httpx.Response:
        asked = httpx.Request(
            request.method,
            self._url,
            headers=request_headers(request, body.framing()),
            stream=body,
            extensions={"target": target(request), "timeout": _TIMES, "sni_hostname": NAME},
        )
        with _as_ours():
            try:
                return await connection.handle_async_request(asked)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                self._refused = asyncio.get_running_loop().time()
                raise

    def has_refused(self) -> bool:
        """Whether it refused a connection a moment ago."""
        return asyncio.get_running_loop().time() < self._refused + REFUSED_S

    async def retire(self) -> None:
        """Close all connections, each once its request has ended."""
        self._most_idle = 0
        while self._idle:
            await self._idle.pop().aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """One connection for one request: a pool of httpx looks at all of its own for each."""
        self.inside += 1
        connection = self._idle.pop() if self._idle else self._new_connection()
        try:
            yield connection
        finally:
            self.inside -= 1
            if len(self._idle) < self._most_idle:
                self._idle.append(connection)
            else:
                await connection.aclose()

    def _new_connection(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls or _NO_TLS,
            trust_env=False,
            limits=_LIMITS,
            uds=self._path,
            socket_options=self._options,
        )


async def _pieces(response: httpx.Response, held: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """The body of an answer in its content coding; ``held`` is released at the end."""
    async with held, aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]
        with _as_ours():
            async for piece in pieces:
                yield piece


@contextmanager
def _as_ours() -> Iterator[None]:
    """Raise the errors of the HTTP client as ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise RouterUnreachable("the router cannot be reached; try again later") from None
    except httpx.LocalProtocolError as error:
        raise InvalidRequest(f"the request cannot be passed on: {error}") from None
    except httpx.TransportError as error:
        logger.info("a router ended amid a request: %s", line_of(error))
        raise RouterEnded("the router ended before it answered; try again") from None
