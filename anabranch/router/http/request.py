"""A request over HTTP: its headers, its id, and its body within limits."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    MutableMapping,
    Sequence,
)
from typing import Any, NamedTuple, Protocol, TypeAlias

from anabranch.access.identity import Identity
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.graph.calls.stepping import in_task
from anabranch.router.errors import ClientGone, HeadersTooLarge, ReplyBody, SlowBody
from anabranch.router.http.compression import MAX_MEMBERS, Unpacking, coding_of
from anabranch.router.http.headers import RequestHead
from anabranch.router.limits import LARGE, Arriving, BytesUnderWay, HeldBytes, RequestLimits
from anabranch.router.off_loop import THREADS, off_loop
from anabranch.router.oip.body_memory import BodyMemory
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.telemetry.trace import Trace

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Coroutine[Any, Any, Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

EXCHANGE = "anabranch.exchange"
"""Name of an ASGI extension, in ``scope["extensions"]``: the server's ``Exchange``."""

ID = b"x-request-id"
_NONE: Mapping[str, Any] = {}
MAX_PIECES = 2**16
"""Pieces in which a body may come: each takes time, however small it is."""
_SMALL = 2**12
"""Size up to which a packed body is unpacked at once, in bytes: it may be of many parts."""
_ALIGNED = 8
"""Size of the largest elements of a tensor, in bytes."""
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
_LENGTH, _ENCODING = b"content-length", b"content-encoding"
_BINARY = b"inference-header-content-length"
_HOST = b"host"


class Exchange(Protocol):
    """A request and its reply on a server that can answer without a task and without a wait.

    A reply that ends with trailers (RFC 9110, 6.5) has status 200, and no headers but those that
    are given: gRPC takes all others for metadata.
    """

    @property
    def head(self) -> RequestHead:
        """The head of the request."""

    def take_body(self) -> bytes | None:
        """Take the whole body; None where it is not there yet and must be received."""

    def reply(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: ReplyBody) -> bool:
        """Send a whole reply at once; ``headers`` tell the length of its body.

        False, with nothing sent, where that cannot be done now and ASGI's messages must be used.
        """

    def begin_reply(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of a reply with trailers: the client knows then that it is worked on."""

    async def end_reply(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        body: Sequence[bytes],
        trailers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Send the rest, or all of it without ``begin_reply``; ``body`` is pieces of one."""


class BodyRule(NamedTuple):
    """Rules for a body; see ``RequestLimits`` for the times and the rate."""

    limit: int
    """Most bytes, also unpacked."""
    timeout: float
    grace: float
    rate: int
    arriving: Arriving
    under_way: BytesUnderWay
    unpacking: asyncio.Semaphore
    """Held while a body is unpacked: each is whole, and used, before too many others are begun."""
    members: int = MAX_MEMBERS
    """Most parts of a gzip body."""
    text: str = ""
    """What to say of a body over the limit, where that is not the number that was set."""

    @classmethod
    def of(cls, limits: RequestLimits, under_way: BytesUnderWay | None = None) -> BodyRule:
        """The rule for requests that are to be answered by graphs."""
        return cls(
            limits.max_body,
            limits.body_timeout,
            limits.body_grace,
            limits.body_rate,
            Arriving(limits.max_arriving),
            under_way or BytesUnderWay(limits.max_under_way, "this process"),
            asyncio.Semaphore(THREADS),
        )

    def time(self, size: int) -> float:
        """Seconds after the start by which more must come than ``size`` bytes."""
        return min(self.timeout, self.grace + size / self.rate)

    def check(self, size: int) -> None:
        """Raise TooLarge for a body of more bytes than the limit."""
        if size > self.limit:
            raise TooLarge(self.text or f"the body is over the limit of {self.limit} bytes")


class HttpRequest:
    """One HTTP request, its body not read yet."""

    __slots__ = (
        "_due", "caller", "exchange", "head", "headers", "held", "id", "method", "path", "receive",
        "scope", "trace",
    )  # fmt: skip

    def __init__(self, scope: Message, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        exchange: Exchange | None = scope.get("extensions", _NONE).get(EXCHANGE)
        self.exchange = exchange
        """The server's own way to the body and the reply, where it has one."""
        self.head = head = RequestHead(scope) if exchange is None else exchange.head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        self.id = request_id(head.last.get(ID))
        self.caller = ""
        """The name of who asks, once that is known; empty where who asks has none."""
        self.trace: Trace | None = None
        """Where to record what is done for it; None for most."""
        self.held: HeldBytes | None = None
        """What it holds of the bytes under way; None for most."""

    def asked_by(self, identity: Identity) -> None:
        """Note who asks; what a known caller has shown goes no further."""
        self.caller = identity.name
        if identity.kind != "anonymous":
            self.headers = self.head.without_credentials()

    def hold(self, size: int, under_way: BytesUnderWay) -> None:
        """Hold so many bytes until ``release``; Unavailable beyond the limit."""
        if self.held is None:
            self.held = HeldBytes(under_way)
        self.held.add(size)

    def check_headers(self, limit: int) -> None:
        """Raise HeadersTooLarge where names and values together are over ``limit`` bytes.

        InvalidRequest where HTTP/1.1 comes without Host (RFC 9112, 3.2).
        """
        head = self.head
        if _HOST not in head.last and head.version == "1.1":
            raise InvalidRequest("header Host is missing")
        if head.size > limit:
            raise HeadersTooLarge(
                f"headers of {head.size} bytes are over the limit of {limit} bytes"
            )

    @property
    def json_length(self) -> int | None:
        """How many bytes of the body are JSON, by the binary tensor extension; None for all.

        InvalidRequest where that is no number.
        """
        if _BINARY not in self.head.last:
            return None
        text = self.head.last[_BINARY].decode("latin-1").strip()
        if not (text.isascii() and text.isdigit()) or len(text) > 20:
            raise InvalidRequest(
                f"Inference-Header-Content-Length {text[:64]!r} is not a number of bytes"
            )
        return int(text)

    def length(self, rule: BodyRule) -> int | None:
        """Bytes of the body, by Content-Length; None where that is missing.

        Raises InvalidRequest where it is no number, and TooLarge over the rule's limit.
        """
        text = self.head.last.get(_LENGTH)
        if text is None:
            return None
        if not text.isdigit():
            raise InvalidRequest(f"Content-Length {text[:64].decode('latin-1')!r} is not a number")
        length = rule.limit + 1 if len(text) > 20 else int(text)
        rule.check(length)
        return length

    def whole(self, rule: BodyRule) -> Buffer | None:
        """Take the body if it is all there and not packed; else None, and ``buffer`` reads it.

        Raises InvalidRequest, TooLarge and Unavailable as that does.
        """
        return None if _ENCODING in self.head.last else self._taken(rule)

    async def body(self, rule: BodyRule) -> bytes:
        """Read the body, as ``buffer`` does, and return it as bytes: a copy of a large one."""
        found = await self.buffer(rule)
        return found if isinstance(found, bytes) else bytes(found)

    async def sent(self, rule: BodyRule) -> Buffer:
        """Read the body, as ``buffer`` does, and return it as it was sent, with its coding."""
        body = self._taken(rule)
        return await self._within(rule) if body is None else body

    async def buffer(self, rule: BodyRule) -> Buffer:
        """Read the body: at most ``rule.limit`` bytes, also unpacked, and within its time.

        One that came in several pieces can be written to, which saves large tensors a copy.
        Raises TooLarge (before reading, where Content-Length tells), SlowBody, UnsupportedBody,
        InvalidRequest, ClientGone, and Unavailable where too much is on its way or under way.
        """
        is_coded = _ENCODING in self.head.last
        coding = coding_of(self.headers["content-encoding"]) if is_coded else None
        body = await self.sent(rule)
        return body if coding is None else await self.unpacked(body, coding, rule)

    async def unpacked(self, body: Buffer, coding: str, rule: BodyRule) -> Buffer:
        """Unpack a body of ``gzip`` or ``deflate``, and count what it becomes meanwhile.

        Raises InvalidRequest, TooLarge at the rule's limit, and Unavailable.
        """
        found = Unpacking(body, coding, rule.limit, rule.members)
        if len(body) <= _SMALL and found.go_on(LARGE):
            return found.whole
        async with rule.unpacking:
            is_whole, counted = False, 0
            while not is_whole:
                is_whole = await off_loop(found.go_on)
                if found.size > LARGE:
                    self.hold(found.size - counted, rule.under_way)
                    counted = found.size
        return found.whole

    def _taken(self, rule: BodyRule) -> Buffer | None:
        """Take the body if it is all there; TooLarge over the limit, there or not."""
        body = None if self.exchange is None else self.exchange.take_body()
        if body is None:
            self.length(rule)
            return None
        return self._held(body, rule)

    def _held(self, body: Buffer, rule: BodyRule) -> Buffer:
        rule.check(len(body))
        if len(body) > LARGE:
            self.hold(len(body), rule.under_way)
        return body

    async def _within(self, rule: BodyRule) -> Buffer:
        self._due = rule.time(0)
        await in_task()
        try:
            async with asyncio.timeout(self._due) as timer:
                body = await self._read(rule, timer)
        except TimeoutError:
            raise SlowBody(f"the body did not arrive within {self._due:.3g}s") from None
        return self._held(body, rule)

    async def _read(self, rule: BodyRule, timer: asyncio.Timeout) -> Buffer:
        message = await self.receive()
        if not message.get("more_body", False):
            return _piece(message)
        # Bytes in front, so that the tensors behind the JSON are aligned.
        padding = -(self.json_length or 0) % _ALIGNED
        body = BodyMemory(rule.limit + padding)
        body.add(bytes(padding))
        try:
            await self._gather(body, message, rule, timer)
            return memoryview(body.whole)[padding:] if padding else body.whole
        finally:
            rule.arriving.remove(body.size - padding, self.head.address)

    async def _gather(
        self, body: BodyMemory, message: Message, rule: BodyRule, timer: asyncio.Timeout
    ) -> None:
        """Put the pieces of a body together, the one in ``message`` first."""
        started, padding = time.monotonic(), body.size
        for _ in range(MAX_PIECES):
            piece = _piece(message)
            rule.check(body.size + len(piece) - padding)
            while not body.has_room(len(piece)):
                await off_loop(body.grow, is_short=True)
            rule.arriving.add(len(piece), self.head.address)
            body.add(piece)
            if not message.get("more_body", False):
                return
            passed = time.monotonic() - started
            self._due = min(rule.time(body.size), passed + rule.grace)
            timer.reschedule(asyncio.get_running_loop().time() + self._due - passed)
            message = await self.receive()
        raise TooLarge(f"the body comes in more than {MAX_PIECES} pieces")


def request_id(given: bytes | None) -> str:
    """Return the caller's ``x-request-id`` if it is fit for logs and headers, else a new one."""
    if given is not None and _SANE_ID(given):
        return given.decode("ascii")
    return os.urandom(16).hex()


def _piece(message: Message) -> bytes:
    """Return the piece of a body that a message brings; ClientGone where it brings none."""
    if message["type"] == "http.disconnect":
        raise ClientGone
    piece: bytes = message.get("body", b"")
    return piece
