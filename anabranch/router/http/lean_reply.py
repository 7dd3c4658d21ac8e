"""The bytes of replies on the lean socket, and when they are written."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextvars import copy_context
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from anabranch.router.errors import error_body

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
CLOSE = (b"connection", b"close")
CHUNKED = (b"transfer-encoding", b"chunked")
SERVICE_UNAVAILABLE = 503
_line_of = b": ".join
MOST_HELD = 8
"""Replies that are written together at most."""
QUICK_S = 0.0003
"""Time after a reply within which the next one may be held, in seconds."""
ALONE = 16
"""Replies that are written at once where others would be held, before it is tried again."""


def message(status: int, headers: Headers, body: bytes) -> bytes:
    """Return the bytes of a reply. RuntimeError where a header has the end of a line in it."""
    return b"%b%b\r\n%b" % (STATUS_LINE[status], _lines(headers), body)


def head(status: int, headers: Headers) -> bytes:
    """Return the head of a reply, with its last line; RuntimeError as ``message``."""
    return STATUS_LINE[status] + _lines(headers) + b"\r\n"


def chunks(body: Sequence[bytes], trailers: Headers) -> list[bytes]:
    """Return a body of one chunk and its trailers (RFC 9112, 7.1); RuntimeError as ``message``.

    A body of no bytes has no chunk but the last.
    """
    last = b"0\r\n" + _lines(trailers) + b"\r\n"
    size = sum(map(len, body))
    return [b"%x\r\n" % size, *body, b"\r\n" + last] if size else [last]


def _lines(headers: Headers) -> bytes:
    found = b"\r\n".join([*map(_line_of, headers), b""])
    if len(found.splitlines()) != len(headers):
        raise RuntimeError("a header has the end of a line in it")
    return found


def refusal(status: int, text: str, headers: Headers) -> bytes:
    """Return the bytes of a reply ``{"error": text}``, after which the connection is closed."""
    body = error_body(text)
    about = (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
    later = ((b"retry-after", b"1"),) if status == SERVICE_UNAVAILABLE else ()
    return message(status, [*headers, *about, *later, CLOSE], body)


class HeldReplies:
    """Small replies of one turn of the event loop, written together.

    Each write wakes its reader, which may take the processor longer than a quick request does. At
    most ``MOST_HELD`` are held, none beyond its turn, and none where requests take so long that a
    reply would wait for the next one. After a turn with one reply, ``ALONE`` are written at once.
    """

    def __init__(self) -> None:
        self._held: list[tuple[asyncio.Transport, bytes]] = []
        self._context = copy_context()
        self._in_turn, self._alone = 0, 0
        self._last = -math.inf
        self.batch = 0
        """Number of the batch that is filled: replies of those before it are written."""

    def add(self, transport: asyncio.Transport, reply: bytes) -> int:
        """Write a reply soon; return the number of its batch, -1 where it is written."""
        if self._alone:
            self._alone -= 1
            transport.write(reply)
            return -1
        if not self._in_turn:
            asyncio.get_running_loop().call_soon(self._end_turn, context=self._context)
        self._in_turn += 1
        batch, now = self.batch, time.monotonic()
        self._held.append((transport, reply))
        if len(self._held) >= MOST_HELD or now - self._last > QUICK_S:
            self.flush()
        self._last = now
        return batch

    def _end_turn(self) -> None:
        if self._in_turn == 1:
            self._alone = ALONE
        self._in_turn = 0
        self.flush()

    def flush(self) -> None:
        """Write what is held: before a connection that has a reply there is used otherwise."""
        held, self._held = self._held, []
        self.batch += 1
        for transport, reply in held:
            if not transport.is_closing():
                transport.write(reply)
