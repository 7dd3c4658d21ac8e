"""One request on the lean socket, and its reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from anabranch.graph.calls.stepping import in_task
from anabranch.router.errors import ReplyBody
from anabranch.router.http.lean_head import MessageHead
from anabranch.router.http.lean_reply import (
    CHUNKED,
    CLOSE,
    Headers,
    HeldReplies,
    chunks,
    head,
    message,
    refusal,
)
from anabranch.router.http.request import EXCHANGE
from anabranch.router.large_reply import pieces_of, seconds_for
from anabranch.router.limits import LARGE

_LOG = logging.getLogger("uvicorn.error")

MAX_REST = 64 * 2**10
"""Bytes of a body that may come behind the reply, so that the connection can go on."""


class Carrier(Protocol):
    """The connection of a request."""

    about: Mapping[str, Any]
    """Its part of ASGI's scope."""
    transport: asyncio.Transport
    flow: FlowControl
    news: asyncio.Event
    """Wakes all who wait for more of a body or for the end of a request."""
    replies: HeldReplies

    def on_response_complete(self) -> None:
        """Hear that the reply is written."""

    def adjust(self) -> None:
        """Hear that a part of the body was taken, so that more of it may be read."""


class LeanCycle(RequestResponseCycle):
    """A request that is read, waits for its turn, is at work, or answered.

    Of uvicorn's class it keeps ``send``, which writes a reply that comes as ASGI messages, and the
    fields that ``send`` uses. ``body`` is the whole body where it has come. ``keep_alive`` may be
    taken away until the reply begins.
    """

    # What most requests leave as it is stands here, so that it is not set for each.
    access_log = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    disconnected = False
    response_started = False
    response_complete = False
    keep_alive = True
    waiting_for_100_continue = False
    is_cut_off = False
    """Whether the reply ends the connection although the body is still coming."""
    batch = -1
    """Batch of replies in which its own is, if it was not written at once."""
    _whole = False
    """Whether the application has been given the end of the body."""

    def __init__(
        self,
        carrier: Carrier,
        message: MessageHead,
        body: bytes | None,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.message = message
        self.head = message.request
        own = {"state": {}, "extensions": {EXCHANGE: self}}
        self.scope = cast("Any", {**carrier.about, **message.scope, **own})
        self._unread: list[bytes] = [body] if body else []
        self.came = len(body or b"")
        """Bytes of the body that have come."""
        self.more_body = body is None
        self.transport = carrier.transport
        self.flow = carrier.flow
        self._replies = carrier.replies
        self.default_headers = headers
        self.message_event = carrier.news
        self.on_response = carrier.on_response_complete
        self._taken = carrier.adjust

    @property
    def waits(self) -> bool:
        """Whether something of the body waits to be taken."""
        return bool(self._unread) and not self.response_complete

    def feed(self, piece: bytes) -> None:
        """Add a piece of the body, unless nobody will take it any more."""
        if self.response_complete or self.disconnected:
            return
        self.came += len(piece)
        self._unread.append(piece)
        self.message_event.set()

    def end(self) -> None:
        """Note that the body is complete."""
        self.more_body = False
        self.message_event.set()

    def cut(self) -> None:
        """Note that nothing more will come from the client, nor be taken by it."""
        self.disconnected = True
        self.message_event.set()

    async def run_asgi(self, app: Any) -> None:
        """Have the request answered; an application that fails is answered for, with 500."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            _LOG.error("Exception in ASGI application\n", exc_info=error)
        if not self.response_complete and not self.disconnected:
            self._fail()
        # Circles would keep the request until Python's collector comes by.
        self.scope.pop("extensions", None)
        self.on_response = _nothing

    def _fail(self) -> None:
        self.keep_alive = False
        if self.response_started:
            self.transport.close()
            return
        self.transport.write(refusal(500, "internal error", self.default_headers))
        self._complete()

    async def receive(self) -> Any:
        """ASGI's receive: at once, without a wait, where there is anything to be given."""
        if self.waiting_for_100_continue and not self._unread and not self.transport.is_closing():
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._whole or (self.more_body and not self._unread):
            await self._news()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._take(), "more_body": self.more_body}

    def take_body(self) -> bytes | None:
        """Take the body, if it is all there: for ``Exchange``, as the next three."""
        if self.more_body or self._whole or self.disconnected or self.waiting_for_100_continue:
            return None
        return self._take()

    def _take(self) -> bytes:
        """Take what has come of the body."""
        body = b"".join(self._unread)
        self._unread.clear()
        self._whole = not self.more_body
        if self.flow.read_paused:
            self._taken()
        return body

    async def _news(self) -> None:
        """Wait for more of the body, for the end of the connection or of the reply."""
        while not (self.disconnected or self.response_complete):
            self.message_event.clear()
            await self.message_event.wait()
            if not self._whole and (self._unread or not self.more_body):
                return

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        if not self.response_started:
            self._settle()
        elif self._cuts_off():
            # So that uvicorn leaves the connection open: to close it might destroy the reply.
            self.keep_alive = True
        await super().send(message)

    def reply(self, status: int, headers: Headers, body: ReplyBody) -> bool:
        """Write a whole reply at once.

        ``headers`` tell the length of the body, which is empty for HEAD. False, with nothing
        written, while the connection takes nothing more: then ``send`` waits until it does.
        Raises RuntimeError where a reply has begun, or a header has the end of a line in it.
        """
        if self.disconnected:
            return True
        if self.flow.write_paused:
            return False
        if self.response_started:
            raise RuntimeError("a reply has begun already")
        if self.more_body:
            self._settle()
        sent = [*self.default_headers, *headers]
        if CLOSE in sent:
            self.keep_alive = False
        elif not self.keep_alive:
            sent.append(CLOSE)
        self._write_last(message(status, sent, bytes(body)))
        return True

    def begin_reply(self, headers: Headers) -> None:
        """Write the head of a reply with trailers, unless the connection takes nothing more."""
        if not (self.disconnected or self.response_started or self.flow.write_paused):
            self.transport.write(self._head(headers))

    async def end_reply(self, headers: Headers, body: Sequence[bytes], trailers: Headers) -> None:
        """Write the rest of a reply with trailers.

        A large one goes no faster than the client takes it; one that is too slow loses its
        connection. RuntimeError where a header or a trailer has the end of a line in it.
        """
        rest = chunks(body, trailers)
        size = sum(map(len, rest))
        if size > LARGE:
            rest = await self._send_start(headers, rest, seconds_for(size))
        elif self.flow.write_paused:
            await self.flow.drain()
        if self.disconnected:
            return
        begin = () if self.response_started else (self._head(headers),)
        self._write_last(b"".join([*begin, *rest]))

    async def _send_start(
        self, headers: Headers, pieces: Sequence[bytes], seconds: float
    ) -> list[bytes]:
        """Write a large reply but for its last bytes, which are returned."""
        self.begin_reply(headers)
        await in_task()
        try:
            async with asyncio.timeout(seconds):
                for piece in pieces[:-1]:
                    for part in pieces_of(piece):
                        await self._write_part(part)
        except TimeoutError:
            self.disconnected = True
            self.transport.abort()
        return [pieces[-1]]

    async def _write_part(self, part: ReplyBody) -> None:
        await self.flow.drain()
        if not self.disconnected:
            self.transport.write(part)
        await asyncio.sleep(0)  # the connection says only then that it takes no more

    def _head(self, headers: Headers) -> bytes:
        self._settle()
        last = (CHUNKED,) if self.keep_alive else (CHUNKED, CLOSE)
        # But for the date, which gRPC does not know.
        found = head(200, [*headers, *self.default_headers[1:], *last])
        self.response_started = True
        return found

    def _write_last(self, data: bytes) -> None:
        """Write a whole reply, or the rest of one."""
        if self.keep_alive:
            self.batch = self._replies.add(self.transport, data)
        else:
            self.transport.write(data)
        self._complete()

    def _complete(self) -> None:
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not (self.keep_alive or self._cuts_off()):
            self.transport.close()
        self.on_response()

    def _cuts_off(self) -> bool:
        """Return whether the reply ends the connection amid the body (RFC 9112, 9.6)."""
        if self.more_body and not self.keep_alive:
            self.is_cut_off = True
        return self.is_cut_off

    def _settle(self) -> None:
        """Give the connection up where a body is not worth being read to its end.

        So it is where much may still come, or where nobody knows whether any will: a client that
        was not told to continue may send it or not (RFC 9110, 10.1.1).
        """
        if self.more_body and (
            self._rest() > MAX_REST or (self.waiting_for_100_continue and not self._unread)
        ):
            self.keep_alive = False
        self.waiting_for_100_continue = False

    def _rest(self) -> float:
        """Return how many bytes of the body are still to come, as far as the client has told."""
        declared = self.head.last.get(b"content-length")
        return inf if declared is None else int(declared) - self.came


def _nothing() -> None:
    """In place of a callback, so that a request that is over holds its connection no more."""
