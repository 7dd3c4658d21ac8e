"""The head of a request on the lean socket: its checks, and what the application is told of it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import httptools

from anabranch.router.admission.admission import EdgeWord
from anabranch.router.http.headers import RequestHead

MAX_HEAD = 128 * 2**10
"""Largest head of a request, in bytes."""
MAX_URLS = 32
"""URLs whose parts are kept: connections ask for the same ones again and again."""

MAX_KNOWN = 256
"""Heads that are known at a time."""
MAX_KNOWN_SIZE = 4 * 2**10
"""Largest head that becomes known, in bytes."""
END = b"\r\n\r\n"
"""The end of a head (RFC 9112, 2.1)."""

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LONGEST_SIZE = 10
_IS_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}").fullmatch

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Problem: TypeAlias = tuple[int, str]
"""Why a request is refused: the status, and the text for its client."""
MALFORMED: Problem = 400, "malformed HTTP/1.1 request"
TOO_LARGE: Problem = 431, f"the head is over the limit of {MAX_HEAD} bytes"
LATE: Problem = 408, "the head of the request did not arrive in time"
CROWDED: Problem = 503, "there are too many connections; try again later"
CODING: Problem = 501, "the only transfer coding that is supported is chunked"

IN_FLIGHT, REFUSING = b"anabranch-in-flight", b"anabranch-refusing"
"""Headers by which the edge tells a router how many requests it has sent there that are not
answered, if they are many, and that it refuses others."""
_IS_COUNT = re.compile(rb"[0-9]{1,9}").fullmatch

AROUND = len(": \r\n")
"""Bytes of a header beside its name and value."""


def size_of(url: bytes, headers: Headers) -> int:
    """Return the size of the URL and the headers, in bytes."""
    return len(url) + sum(map(len, chain.from_iterable(headers))) + AROUND * len(headers)


def problem_of(version: str, size: int, headers: Mapping[bytes, bytes]) -> Problem | None:
    """Return why a head is refused that the parser takes, if it is (RFC 9112, 2.3 and 6.1).

    ``size`` is that of the URL and the headers, in bytes. Of a header that came several times,
    ``headers`` has the last; the parser takes only one Transfer-Encoding.
    """
    if size > MAX_HEAD:
        return TOO_LARGE
    coding = headers.get(b"transfer-encoding", b"")
    if version == "1.1":
        return CODING if coding and coding.lower() != b"chunked" else None
    return MALFORMED if coding or version != "1.0" else None


class MessageHead(NamedTuple):
    """The head of a message, as the application is told of it on whatever connection it comes."""

    scope: Mapping[str, Any]
    """ASGI's scope, but for that part of it which is the connection's."""
    request: RequestHead
    word: EdgeWord | None
    """What the edge says with it; None for most."""


def message_of(version: str, method: bytes, url: bytes, headers: Headers) -> MessageHead:
    """Return the head of a message from its parts; an Exception where the URL is malformed."""
    path, raw_path, query = _parts_of(url)
    scope = {
        "type": "http",
        "http_version": version,
        "method": method.decode("ascii"),
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
    }
    request = RequestHead(scope)
    return MessageHead(scope, request, _word_of(request.last))


def _word_of(headers: Mapping[bytes, bytes]) -> EdgeWord | None:
    count, is_refusing = headers.get(IN_FLIGHT, b"0"), REFUSING in headers
    in_flight = int(count) if _IS_COUNT(count) else 0
    return EdgeWord(in_flight, is_refusing) if in_flight or is_refusing else None


class KnownHeads:
    """Heads of requests that were read before, by their bytes.

    Clients send the same few again and again. Bytes mean the same wherever they begin a message, so
    all that is left of reading and checking such a head is to look it up.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[MessageHead, int | None]] = {}
        """With the size of the body; None where it comes in chunks."""

    def find(self, data: bytes) -> tuple[MessageHead, bytes] | None:
        """Return the head and the body of a message, if its head is known and it is all there.

        ``data`` begins where the message begins; None also where more than that has come.
        """
        end = data.find(END) + len(END)
        known = self._known.get(data[:end])
        if known is None:
            return None
        message, size = known
        if size is None:
            body = only_chunk(data, end)
        else:
            body = data[end:] if len(data) - end == size else None
        return None if body is None else (message, body)

    def learn(self, data: bytes, message: MessageHead) -> None:
        """Keep the head of ``data``, if it is that of this message and behind it a whole body.

        The message must not end its connection.
        """
        headers, end = message.request.last, data.find(END) + len(END)
        if end > MAX_KNOWN_SIZE or b"expect" in headers:
            return
        if b"transfer-encoding" in headers:
            size = None
            is_whole = only_chunk(data, end) is not None
        else:
            size = int(headers.get(b"content-length", 0))
            is_whole = size == len(data) - end
        if not is_whole:
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[data[:end]] = message, size


def only_chunk(data: bytes, at: int) -> bytes | None:
    """Return the chunk that begins at ``at``, if it is the only one, and bare (RFC 9112, 7.1)."""
    line = data.find(b"\r\n", at, at + _LONGEST_SIZE)
    if line < 0 or not _IS_SIZE(data[at:line]):
        return None
    start, size = line + 2, int(data[at:line], 16)
    end = start + size
    return data[start:end] if size and data[end:] == _LAST_CHUNK else None


@lru_cache(MAX_URLS)
def _parts_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, as text and as it came, and the query."""
    parts: Any = httptools.parse_url(url)  # its query may be None, whatever its type says
    path = parts.path.decode("ascii")
    unquoted = urllib.parse.unquote(path) if "%" in path else path
    return unquoted, parts.path, parts.query or b""
