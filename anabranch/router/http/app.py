"""The base of the router's and the gateway's ASGI applications: HTTP in, HTTP out.

``HttpApp`` wraps one coroutine function from ``HttpRequest`` to ``HttpReply``, and does the rest of
ASGI: lifespan events, refusing WebSockets, the request id, and turning exceptions into responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, NamedTuple, TypeAlias

import orjson

from anabranch.graph.calls.stepping import in_task
from anabranch.router.errors import (
    ClientGone,
    Headers,
    HttpReply,
    MethodNotAllowed,
    ReplyBody,
    error_reply,
)
from anabranch.router.http.compression import SMALLEST, packed
from anabranch.router.http.event_stream import HEADERS as EVENT_HEADERS
from anabranch.router.http.event_stream import EventStream
from anabranch.router.http.observing import HttpObserver
from anabranch.router.http.request import (
    ID,
    HttpRequest,
    Message,
    Receive,
    Send,
)
from anabranch.router.large_reply import send_large, send_piece
from anabranch.router.limits import LARGE
from anabranch.router.tracing import RESPONSE

_JSON = (b"content-type", b"application/json")
_ACCEPT = b"accept-encoding"


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

    async def __aenter__(self) -> None:
        await in_task()
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

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
            raise ClientGone from None


class StreamedReply(NamedTuple):
    """A response whose body comes piece by piece; ``rest`` is what follows its first piece.

    ``headers`` are all but the id's; ``rest`` must be closed.
    """

    status: int
    headers: Headers
    first: bytes
    rest: AsyncGenerator[bytes, None]


Answer: TypeAlias = HttpReply | EventStream | StreamedReply
Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Answer]]


def _own_form(error: Exception, path: str, request_id: str) -> HttpReply:
    return error_reply(error, request_id)


class HttpApp:
    """An ASGI application around one handler; an ``observer`` counts and traces requests.

    ``form`` makes the response to an error, given the path and the id of its request.
    """

    def __init__(
        self,
        handler: Handler,
        observer: HttpObserver | None = None,
        form: Callable[[Exception, str, str], HttpReply] = _own_form,
    ) -> None:
        self._handler = handler
        self._form = form
        self._observer = observer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection of any type."""
        if scope["type"] != "http":
            return await _other(scope["type"], receive, send)
        request = HttpRequest(scope, receive)
        answer = self._answer(request, send)
        try:
            await (answer if self._observer is None else self._observer.observed(request, answer))
        finally:
            if request.held is not None:
                request.held.release()

    async def _answer(self, request: HttpRequest, send: Send) -> int:
        """Answer a request; the status, or 0 where its client has gone."""
        reply: Answer
        handler = self._handler
        try:
            reply = await handler(request)
        except ClientGone:
            return 0
        except Exception as error:
            reply = self._form(error, request.path, request.id)
        if not isinstance(reply, HttpReply):
            return await self._stream(request, reply, send)
        if len(reply.body) > SMALLEST and _ACCEPT in request.head.last:
            reply = await packed(reply, request.headers["accept-encoding"])
        status, body, own = reply
        headers = _headers(request, len(body), own)
        if request.method == "HEAD":
            body = b""
        if len(body) > LARGE:
            return await self._send_large(send, status, headers, body)
        exchange = request.exchange
        if exchange is None or not exchange.reply(status, headers, body):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        return status

    async def _send_large(self, send: Send, status: int, headers: Headers, body: ReplyBody) -> int:
        with suppress(ClientGone):
            await send_large(send, status, headers, body)
            return status
        return 0

    async def _stream(
        self, request: HttpRequest, reply: EventStream | StreamedReply, send: Send
    ) -> int:
        if isinstance(reply, EventStream):
            reply = StreamedReply(200, EVENT_HEADERS, *reply)
        headers = [*reply.headers, *_id(request)]
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        async with aclosing(reply.rest):
            with suppress(ClientGone):
                async with CancelOnDisconnect(request.receive):
                    await send(start)
                    await send_piece(send, reply.first)
                    async for event in reply.rest:
                        await send_piece(send, event)
                    await send({"type": "http.response.body", "body": b""})
                return reply.status
        return 0


def _headers(request: HttpRequest, length: int, own: Headers) -> Headers:
    if not own or not any(name == b"content-type" for name, _ in own):
        own = (*own, _JSON)
    return ((b"content-length", b"%d" % length), *own, *_id(request))


def _id(request: HttpRequest) -> Headers:
    own = ID, request.id.encode()
    if request.trace is None:
        return (own,)
    return own, (RESPONSE.encode(), request.trace.traceparent.encode())


async def _other(kind: str, receive: Receive, send: Send) -> None:
    """Answer a connection that is none of HTTP's."""
    if kind == "lifespan":
        await _lifespan(receive, send)
    elif kind == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def dispatch(request: HttpRequest, methods: Mapping[str, Handler]) -> Awaitable[Answer]:
    """Answer with the handler for the request's method; HEAD is a GET without the body."""
    handler = methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise MethodNotAllowed(request.method, [*methods, *(["HEAD"] if "GET" in methods else [])])
    return handler(request)


def json_reply(document: Any, status: int = 200) -> HttpReply:
    """Return a response whose body is ``document`` as JSON."""
    return HttpReply(status, orjson.dumps(document))
