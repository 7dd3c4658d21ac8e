"""The base of the router's and the gateway's ASGI applications: HTTP in, HTTP out.

``HttpApp`` wraps one coroutine function from ``HttpRequest`` to ``HttpReply``, and does the rest of
ASGI: lifespan events, refusing WebSockets, the request id, and turning exceptions into responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeAlias

import orjson

from anabranch.router.errors import ClientGone, HttpReply, MethodNotAllowed, error_reply
from anabranch.router.http.compression import SMALLEST, packed
from anabranch.router.http.event_stream import HEADERS as EVENT_HEADERS
from anabranch.router.http.event_stream import EventStream
from anabranch.router.http.observing import HttpObserver
from anabranch.router.http.request import ID, HttpRequest, Message, Receive, Send
from anabranch.router.tracing import RESPONSE

STALLED_S = 30.0
"""Longest time that a client may take nothing of a stream, in seconds."""
_JSON = (b"content-type", b"application/json")


class CancelOnDisconnect:
    """Cancels the task that is inside when its client hangs up, and raises ClientGone there.

    ``receive`` must have given the whole body. Listening costs a task, so it starts only once the
    work has lasted ``_AFTER`` seconds: most requests are done by then.
    """

    __slots__ = ("_gone", "_listener", "_receive", "_task", "_timer")

    _AFTER = 0.02

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._AFTER, self._start)

    def _start(self) -> None:
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
            raise ClientGone from None


Answer: TypeAlias = HttpReply | EventStream
Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Answer]]


class HttpApp:
    """An ASGI application around one handler.

    ``sends_id`` is False behind a server that adds ``x-request-id`` to responses itself, as Ray
    Serve does, so that clients do not see it twice. An ``observer`` counts and traces requests.
    """

    def __init__(
        self,
        handler: Handler,
        sends_id: bool = True,
        observer: HttpObserver | None = None,
    ) -> None:
        self._handler = handler
        self._sends_id = sends_id
        self._observer = observer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection of any type."""
        if scope["type"] == "http":
            await self._http(HttpRequest(scope, receive), send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, request: HttpRequest, send: Send) -> None:
        answer = self._answer(request, send)
        await (answer if self._observer is None else self._observer.observed(request, answer))

    async def _answer(self, request: HttpRequest, send: Send) -> int:
        """Answer a request; the status, or 0 where its client has gone."""
        reply: Answer
        try:
            reply = await self._handler(request)
        except ClientGone:
            return 0
        except Exception as error:
            reply = error_reply(error, request.id)
        if isinstance(reply, EventStream):
            return await self._stream(request, reply, send)
        await self._send(request, reply, send)
        return reply.status

    async def _stream(self, request: HttpRequest, reply: EventStream, send: Send) -> int:
        headers = [*EVENT_HEADERS, *self._id(request)]
        async with aclosing(reply.rest):
            with suppress(ClientGone), CancelOnDisconnect(request.receive):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await _send_piece(send, reply.first)
                async for event in reply.rest:
                    await _send_piece(send, event)
                await send({"type": "http.response.body", "body": b""})
                return 200
        return 0

    def _id(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        found = [(ID, request.id.encode())] if self._sends_id else []
        if request.trace is not None:
            found.append((RESPONSE.encode(), request.trace.traceparent.encode()))
        return found

    async def _send(self, request: HttpRequest, reply: HttpReply, send: Send) -> None:
        if len(reply.body) > SMALLEST and request.accepts_coding:
            reply = await packed(reply, request.headers["accept-encoding"])
        headers = [(b"content-length", str(len(reply.body)).encode()), *reply.headers]
        if not reply.headers or not any(name == b"content-type" for name, _ in reply.headers):
            headers.append(_JSON)
        headers += self._id(request)
        body = b"" if request.method == "HEAD" else reply.body
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _send_piece(send: Send, body: bytes) -> None:
    """Send a part of a body; a client that takes nothing for so long is gone."""
    try:
        async with asyncio.timeout(STALLED_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except TimeoutError:
        raise ClientGone from None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def dispatch(request: HttpRequest, methods: Mapping[str, Handler]) -> Answer:
    """Answer with the handler for the request's method; HEAD is a GET without the body."""
    handler = methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise MethodNotAllowed(request.method, [*methods, *(["HEAD"] if "GET" in methods else [])])
    return await handler(request)


def json_reply(document: Any, status: int = 200) -> HttpReply:
    """Return a response whose body is ``document`` as JSON."""
    return HttpReply(status, orjson.dumps(document))
