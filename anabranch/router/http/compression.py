"""gzip and deflate in both directions, after RFC 9110 (8.4, 12.5.3).

A body is unpacked piece by piece and no further than its limit, whatever it would grow to. Large
ones are to be unpacked in a thread, so that they do not hold the event loop.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterator

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import Headers, HttpReply, ReplyBody, UnsupportedBody
from anabranch.router.oip.body_memory import BodyMemory
from anabranch.router.oip.raw_tensors import Buffer

SMALLEST = 1024
"""Bodies of at most so many bytes are sent as they are."""
MAX_MEMBERS = 4096
"""Parts of one gzip body: each costs time, however little is in it."""
_PACKED_INLINE = 64 * 2**10
"""Bodies of at most so many bytes are packed in the event loop."""
_PIECE = 64 * 2**10
"""Bytes of which a thread holds Python's lock while it adds them."""
_STEP = 4 * 2**20
_LEVEL = 1
_WORTH = 0.9
"""A body whose start does not shrink to this part is sent as it is."""

_GZIP, _ZLIB, _RAW = 31, 15, -15
_WINDOWS = {"gzip": _GZIP, "deflate": _ZLIB}
"""``wbits`` of zlib by content coding; in the order of preference."""
_ALIASES = {"x-gzip": "gzip"}
_TOKEN = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_ELEMENT = re.compile(rf"({_TOKEN})\s*(?:;\s*q\s*=\s*([01](?:\.\d{{0,3}})?))?").fullmatch


class CutBody(InvalidRequest):
    """A packed body lacks its end."""


class ExtendedBody(InvalidRequest):
    """A packed body goes on after its end."""


def coding_of(header: str) -> str | None:
    """The coding that a Content-Encoding header names; None for a body as it is.

    Raises UnsupportedBody, also for one coding on top of another.
    """
    name = header.strip().lower()
    name = _ALIASES.get(name, name)
    if name in ("", "identity"):
        return None
    if name not in _WINDOWS:
        raise UnsupportedBody(
            f"Content-Encoding {header[:64]!r} is not supported; "
            f"use one of {', '.join(_WINDOWS)}, or send the body as it is"
        )
    return name


class Unpacking(BodyMemory):
    """A request's body that is unpacked step by step, to ``limit`` bytes at most.

    One of gzip has at most so many ``members``.
    """

    __slots__ = ("_coding", "_pieces")

    def __init__(self, body: Buffer, coding: str, limit: int, members: int = MAX_MEMBERS) -> None:
        super().__init__(limit)
        self._coding = coding
        self._pieces = _pieces(body, coding, members)

    def go_on(self, size: int = _STEP) -> bool:
        """Unpack about ``size`` bytes more; return whether that was all.

        Raises InvalidRequest, and TooLarge beyond the limit.
        """
        due = self.size + size
        try:
            for piece in self._pieces:
                if self.size + len(piece) > self.most:
                    raise TooLarge(f"the body unpacks to more than the limit of {self.most} bytes")
                self.add(piece)
                if self.size >= due:
                    return False
        except zlib.error as error:
            problem = str(error).partition(": ")[2] or "it needs a dictionary"
            raise InvalidRequest(f"the body is not {self._coding}: {problem}") from None
        return True


def _pieces(body: Buffer, coding: str, most: int) -> Iterator[bytes]:
    """Yield the unpacked body in pieces; zlib.error or InvalidRequest where it is damaged."""
    window = _WINDOWS[coding] if coding != "deflate" or _has_zlib_header(body) else _RAW
    left, view, members = b"", memoryview(body), 1
    unpacker = zlib.decompressobj(window)
    while left or view:
        if unpacker.eof:
            members += 1
            if window != _GZIP or members > most:
                raise ExtendedBody(f"the body is not {coding}: there is more after its end")
            unpacker = zlib.decompressobj(window)
        if not left:
            left, view = bytes(view[:_PIECE]), view[_PIECE:]
        yield unpacker.decompress(left, _PIECE)
        left = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while not unpacker.eof:
        piece = unpacker.decompress(b"", _PIECE)
        if not piece and not unpacker.eof:
            raise CutBody(f"the body is not {coding}: it is cut short")
        yield piece


def _has_zlib_header(body: Buffer) -> bool:
    """Whether deflate comes as RFC 9110 says, in the zlib format; some clients leave that out."""
    return len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def accepted(header: str) -> str | None:
    """The coding to answer in, by an Accept-Encoding header; None for the body as it is.

    Of those with the highest weight, gzip. A header that cannot be read accepts nothing.
    """
    weights: dict[str, float] = {}
    for element in filter(None, map(str.strip, header.lower().split(","))):
        match = _ELEMENT(element)
        if match is None:
            return None
        weights[_ALIASES.get(match[1], match[1])] = float(match[2] or 1)
    others = weights.get("*", 0.0)
    best = max(_WINDOWS, key=lambda name: weights.get(name, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


async def packed(reply: HttpReply, accept: str) -> HttpReply:
    """A reply in the coding that an Accept-Encoding header asks for, if it is worth it."""
    if len(reply.body) <= SMALLEST or any(n == b"content-encoding" for n, _ in reply.headers):
        return reply
    coding = accepted(accept)
    body = None
    if coding is not None and len(reply.body) <= _PACKED_INLINE:
        body = _pack(reply.body, coding)
    elif coding is not None:
        body = await asyncio.to_thread(_pack, reply.body, coding)
    more: Headers = ((b"vary", b"accept-encoding"),)
    if coding is None or body is None:
        return reply._replace(headers=reply.headers + more)
    more += ((b"content-encoding", coding.encode()),)
    return reply._replace(body=body, headers=reply.headers + more)


def _pack(body: ReplyBody, coding: str) -> bytes | None:
    start = memoryview(body)[:_PIECE]
    if len(_packed(start, coding)) > _WORTH * len(start):
        return None
    return _packed(body, coding)


def _packed(data: ReplyBody, coding: str) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return packer.compress(data) + packer.flush()
