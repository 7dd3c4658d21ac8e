"""The body of a request that is passed on: piece by piece, within the limits of a router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from anabranch.errors import TooLarge
from anabranch.router.errors import ClientGone, SlowBody
from anabranch.router.http.request import MAX_PIECES, BodyRule, HttpRequest, Message

AT_HAND = 64 * 2**10
"""Bytes of a body that are read before any of it is sent, and can be sent again."""
_PIECES_AT_HAND = 64
"""Likewise pieces: each takes memory, however small it is."""


class ForwardedBody(httpx.AsyncByteStream):
    """A body on its way from a client to a router; ``ended`` is called once it has all come.

    Raises TooLarge (before anything is read, where Content-Length tells), SlowBody, InvalidRequest,
    ClientGone, and Unavailable where too much is on its way.
    """

    def __init__(
        self, request: HttpRequest, rule: BodyRule, ended: Callable[[], Awaitable[None]]
    ) -> None:
        self._declared = request.length(rule)
        self._request = request
        self._rule = rule
        self._ended = ended
        self._start: list[bytes] = []
        self._size = 0
        self._pieces = 0
        self._waited = 0.0
        self._whole = False
        self.is_at_hand = True
        """Whether the body can be sent from its first byte on."""

    async def begin(self) -> None:
        """Read the start of the body; that is all of it, where it is small."""
        try:
            while not self._whole and self._has_room():
                piece = await self._next()
                self._rule.arriving.add(len(piece))
                self._start.append(piece)
        finally:
            self._rule.arriving.remove(sum(map(len, self._start)))

    def framing(self) -> list[tuple[bytes, bytes]]:
        """The header that tells a router where the body ends (RFC 9112, 6); none without a body."""
        is_chunked = "transfer-encoding" in self._request.headers
        if self._whole and (self._size or is_chunked or self._declared is not None):
            return [(b"content-length", str(self._size).encode())]
        if self._whole:
            return []
        if is_chunked or self._declared is None:
            return [(b"transfer-encoding", b"chunked")]
        return [(b"content-length", str(self._declared).encode())]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body, its start again each time; the rest can be had once."""
        for piece in self._start:
            yield piece
        while not self._whole:
            self.is_at_hand = False
            yield await self._next()

    def _has_room(self) -> bool:
        return self._size < AT_HAND and self._pieces < _PIECES_AT_HAND

    async def _next(self) -> bytes:
        message = await self._received()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        self._pieces += 1
        self._rule.check(self._size)
        if self._pieces > MAX_PIECES:
            raise TooLarge(f"the body comes in more than {MAX_PIECES} pieces")
        if not message.get("more_body", False):
            self._whole = True
            await self._ended()
        return piece

    async def _received(self) -> Message:
        """The next message, if it comes in time; how long a router takes is not held against it."""
        clock = asyncio.get_running_loop().time
        due = min(self._rule.time(self._size), self._waited + self._rule.grace)
        began = clock()
        try:
            async with asyncio.timeout(due - self._waited):
                message = await self._request.receive()
        except TimeoutError:
            raise SlowBody(f"the body did not arrive within {due:.3g}s") from None
        self._waited += clock() - began
        return message
