"""A request over HTTP: its headers, its id, and its body within limits."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import Any, NamedTuple, TypeAlias

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import ClientGone, HeadersTooLarge, SlowBody
from anabranch.router.http.compression import coding_of, unpacked
from anabranch.router.limits import Arriving, RequestLimits
from anabranch.router.stepping import Started
from anabranch.telemetry.trace import Trace

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Body: TypeAlias = bytes | bytearray | memoryview

ID = b"x-request-id"
MAX_PIECES = 2**16
"""Pieces in which a body may come: each takes time, however small it is."""
_ALIGNED = 8
"""Size of the largest elements of a tensor, in bytes."""
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
_LENGTH, _ENCODING = b"content-length", b"content-encoding"
_BINARY = b"inference-header-content-length"
_ACCEPT, _HOST, _TRACE = b"accept-encoding", b"host", b"traceparent"
_OWN = frozenset((ID, _LENGTH, _ENCODING, _ACCEPT, _HOST, _BINARY, _TRACE))
"""Headers that every request is looked through for."""
_SEPARATORS = {"cookie": "; "}
"""Separators between the values of a header that came several times, where it is no comma."""


class BodyRule(NamedTuple):
    """Rules for a body; see ``RequestLimits`` for the times and the rate."""

    limit: int
    """Most bytes, also unpacked."""
    timeout: float
    grace: float
    rate: int
    arriving: Arriving

    @classmethod
    def of(cls, limits: RequestLimits) -> BodyRule:
        """The rule for requests that are to be answered by graphs."""
        arriving = Arriving(limits.max_arriving)
        return cls(
            limits.max_body, limits.body_timeout, limits.body_grace, limits.body_rate, arriving
        )

    def time(self, size: int) -> float:
        """Seconds after the start by which more must come than ``size`` bytes."""
        return min(self.timeout, self.grace + size / self.rate)


class HttpRequest:
    """One HTTP request, its body not read yet."""

    __slots__ = (
        "_due", "_own", "_size", "_timer", "headers", "id", "method", "path", "receive", "scope",
        "trace",
    )  # fmt: skip

    def __init__(self, scope: Message, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        """Path below ``root_path``; servers differ in whether ``scope["path"]`` starts with it."""
        self.headers = Headers(scope["headers"])
        self._size = 0
        self._timer: asyncio.Timeout | None = None
        self._due = 0.0
        self._own: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self._size += len(name) + len(value)
            if name in _OWN:
                self._own[name] = value
        self.id = request_id(self._own.get(ID))
        self.trace: Trace | None = None
        """Where to record what is done for it; None for most."""

    def check_headers(self, limit: int) -> None:
        """Raise HeadersTooLarge where names and values together are over ``limit`` bytes.

        InvalidRequest where HTTP/1.1 comes without Host (RFC 9112, 3.2).
        """
        if _HOST not in self._own and self.scope.get("http_version") == "1.1":
            raise InvalidRequest("header Host is missing")
        if self._size > limit:
            raise HeadersTooLarge(
                f"headers of {self._size} bytes are over the limit of {limit} bytes"
            )

    @property
    def json_length(self) -> int | None:
        """How many bytes of the body are JSON, by the binary tensor extension; None for all.

        InvalidRequest where that is no number.
        """
        if _BINARY not in self._own:
            return None
        text = self._own[_BINARY].decode("latin-1").strip()
        if not (text.isascii() and text.isdigit()) or len(text) > 20:
            raise InvalidRequest(
                f"Inference-Header-Content-Length {text[:64]!r} is not a number of bytes"
            )
        return int(text)

    @property
    def is_traced(self) -> bool:
        """Whether the client says what trace the request belongs to."""
        return _TRACE in self._own

    @property
    def accepts_coding(self) -> bool:
        """Whether the client says in which codings it may be answered."""
        return _ACCEPT in self._own

    async def body(self, rule: BodyRule) -> bytes:
        """Read the body, as ``buffer`` does, and return it as bytes."""
        found = await self.buffer(rule)
        return found if isinstance(found, bytes) else bytes(found)

    async def buffer(self, rule: BodyRule) -> Body:
        """Read the body: at most ``rule.limit`` bytes, also unpacked, and within its time.

        One that came in several pieces can be written to, which saves large tensors a copy.
        Raises TooLarge (before reading, where Content-Length tells), SlowBody, UnsupportedBody,
        InvalidRequest, ClientGone, and Unavailable where too much is on its way.
        """
        limit = rule.limit
        self._check_body(limit)
        reading = Started(self._read(rule))
        body = reading.value if reading.done else await self._within(rule, reading)
        if _ENCODING not in self._own:
            return body
        coding = coding_of(self.headers["content-encoding"])
        return body if coding is None else await unpacked(body, coding, limit)

    async def _within(self, rule: BodyRule, reading: Started[Body]) -> Body:
        self._due = rule.time(0)
        try:
            async with asyncio.timeout(self._due) as self._timer:
                return await reading
        except TimeoutError:
            raise SlowBody(f"the body did not arrive within {self._due:.3g}s") from None

    def _check_body(self, limit: int) -> None:
        if _ENCODING in self._own:
            coding_of(self.headers["content-encoding"])
        if _LENGTH not in self._own:
            return
        length = self._own[_LENGTH].decode("latin-1")
        if not (length.isascii() and length.isdigit()):
            raise InvalidRequest(f"Content-Length {length[:64]!r} is not a number")
        if len(length) > 20 or int(length) > limit:
            raise _over(limit)

    async def _read(self, rule: BodyRule) -> Body:
        message = await self._next()
        first: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return _within(first, rule.limit)
        # Bytes in front, so that the tensors behind the JSON are aligned.
        padding = -(self.json_length or 0) % _ALIGNED
        body = bytearray(padding)
        try:
            await self._gather(body, message, rule)
            return memoryview(body)[padding:] if padding else body
        finally:
            rule.arriving.held -= len(body) - padding

    async def _gather(self, body: bytearray, message: Message, rule: BodyRule) -> None:
        """Put the pieces of a body together, the one in ``message`` first."""
        started, most = time.monotonic(), rule.limit + len(body)
        for _ in range(MAX_PIECES):
            piece: bytes = message.get("body", b"")
            if len(body) + len(piece) > most:
                raise _over(rule.limit)
            rule.arriving.add(len(piece))
            body += piece
            if not message.get("more_body", False):
                return
            if self._timer is not None:
                passed = time.monotonic() - started
                self._due = min(rule.time(len(body)), passed + rule.grace)
                self._timer.reschedule(asyncio.get_running_loop().time() + self._due - passed)
            message = await self._next()
        raise TooLarge(f"the body comes in more than {MAX_PIECES} pieces")

    async def _next(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message


class Headers(Mapping[str, str]):
    """Headers by name in lower case, decoded when first asked for: most requests never ask.

    The values of a header that came several times are one list, as RFC 9110 (5.3) says.
    """

    __slots__ = ("_decoded", "_raw")

    def __init__(self, raw: Collection[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._decoded: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = _decoded(self._raw)
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _decoded(raw: Collection[tuple[bytes, bytes]]) -> dict[str, str]:
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return found if len(found) == len(raw) else _joined(raw)


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: _SEPARATORS.get(name, ", ").join(several) for name, several in values.items()}


def request_id(given: bytes | None) -> str:
    """Return the caller's ``x-request-id`` if it is fit for logs and headers, else a new one."""
    if given is not None and _SANE_ID(given):
        return given.decode("ascii")
    return os.urandom(16).hex()


def _over(limit: int) -> TooLarge:
    return TooLarge(f"the body is over the limit of {limit} bytes")


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _over(limit)
    return body
