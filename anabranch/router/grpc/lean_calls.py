"""ModelInfer and Seldon's Predict on a router's lean socket: the edge sends calls as HTTP/1.1.

Only calls of one message come this way, which may be packed. The servicer that answers on
gRPC's own server answers here too. What such a call does not need of that server is left out: its
threads, its task for each call, and its queues.

Each reply has a message, an empty one where its status is an error: so the edge tells a reply whose
router has died from one that is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from grpc import StatusCode

from anabranch.errors import InvalidRequest
from anabranch.graph.calls.stepping import Started
from anabranch.router.errors import ClientGone
from anabranch.router.grpc.calls import GrpcCall
from anabranch.router.grpc.codes import OK, Ended, Status, status_of
from anabranch.router.grpc.framing import (
    HEADERS,
    PREFIX,
    framed,
    metadata_of,
    seconds_of,
    trailers,
    unframed,
)
from anabranch.router.grpc.messages import path
from anabranch.router.grpc.seldon.messages import path as seldon_path
from anabranch.router.grpc.seldon.servicer import SeldonServicer
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.http.app import CancelOnDisconnect
from anabranch.router.http.compression import CutBody, ExtendedBody, coding_of
from anabranch.router.http.request import (
    BodyRule,
    Exchange,
    HttpRequest,
    Message,
    Receive,
    Send,
)
from anabranch.router.limits import LARGE
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.traffic.arms import Arms

Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI application."""
INFER = path("ModelInfer")
PREDICT = seldon_path("Predict")
_PATHS = frozenset((INFER, PREDICT))
_TIMEOUT, _TYPE, _ENCODING = b"grpc-timeout", b"content-type", b"grpc-encoding"
_TYPES = (b"application/grpc", b"application/grpc+proto")
_DAMAGED = {CutBody: "data error", ExtendedBody: "not all input consumed"}
"""What gRPC's own server says of a damaged message; of any other one "zlib error"."""


class LeanCall(GrpcCall):
    """A call that came as a request over HTTP/1.1."""

    __slots__ = ("_clock", "_due")

    def __init__(self, request: HttpRequest) -> None:
        head = request.head
        metadata = metadata_of(request.scope["headers"])
        super().__init__(metadata, request.id, head.credentials, head.address)
        self._clock = asyncio.get_running_loop().time
        seconds = seconds_of(request.head.last.get(_TIMEOUT))
        self._due = None if seconds is None else self._clock() + seconds

    def remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""
        return None if self._due is None else max(0.0, self._due - self._clock())

    def uncounted(self, message: Buffer) -> int:
        """Return 0: its request holds the message already."""
        return 0


class LeanCalls:
    """An ASGI application that answers calls of one graph, where there is an ``EXCHANGE``."""

    def __init__(self, arms: Arms) -> None:
        self._arms = arms
        self._methods = {
            INFER: GraphServicer(arms).infer,
            PREDICT: SeldonServicer(arms).predict,
        }
        rule = BodyRule.of(arms.limits, arms.under_way)
        text = f"the body is over the limit of {rule.limit} bytes"
        self._body = rule._replace(limit=rule.limit + PREFIX, text=text)
        self._unpacking = rule._replace(members=1)  # gRPC's own server takes one, too

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one call."""
        request = HttpRequest(scope, receive)
        call, reply = LeanCall(request), request.exchange
        assert reply is not None
        try:
            message, status = b"", OK
            try:
                message = await self._message(request, call, reply)
                if len(message) > LARGE:
                    request.hold(len(message), self._arms.under_way)
            except ClientGone:
                return
            except Exception as error:
                message, status = b"", status_of(error, call.id)
            metadata = call.trailer | dict(status.trailer)
            await reply.end_reply(HEADERS, framed(message), trailers(status, metadata))
        finally:
            if request.held is not None:
                request.held.release()

    async def _message(self, request: HttpRequest, call: LeanCall, reply: Exchange) -> bytes:
        """Return the answer, not before a head was sent where the call may be evaluated once only.

        A proxy may say of a call that had no head when its router died that nobody has worked on
        it (RFC 9113, 8.7), and clients of gRPC send such a call again by themselves.
        """
        request.check_headers(self._arms.limits.max_headers)
        name = request.head.last.get(_ENCODING)
        known = None if name is None else coding_of(name.decode("latin-1"))
        message, coding = unframed(await request.sent(self._body), known)
        if coding is not None:
            call.unpack = partial(self._unpacked, request, coding)
        if not self._arms.routing.is_idempotent:
            reply.begin_reply(HEADERS)
        running = Started(self._methods[request.path](message, call))
        if running.done:
            return running.value
        async with CancelOnDisconnect(request.receive):
            return await running

    async def _unpacked(self, request: HttpRequest, coding: str, message: Buffer) -> Buffer:
        """Unpack a message; one that is damaged ends its call as gRPC's own server does."""
        try:
            return await request.unpacked(message, coding, self._unpacking)
        except InvalidRequest as error:
            text = f"Decompression failed due to {_DAMAGED.get(type(error), 'zlib error')}"
            raise Ended(Status(StatusCode.INTERNAL, text, ())) from None


def beside(app: Application, calls: Application) -> Application:
    """Return an application that answers those methods by ``calls`` and all else by ``app``."""

    def either(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        chosen = calls if scope["path"] in _PATHS and _is_call(scope) else app
        return chosen(scope, receive, send)

    return either


def _is_call(scope: Message) -> bool:
    """Whether a request is a call, on a connection that can carry its answer (RFC 9112, 7.1)."""
    return (
        scope["method"] == "POST"
        and scope["http_version"] == "1.1"
        and dict(scope["headers"]).get(_TYPE) in _TYPES
    )
