"""The head of a request on the lean socket: its checks, and what the application is told of it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

import httptools

MAX_HEAD = 128 * 2**10
"""Largest head of a request, in bytes."""
MAX_URLS = 32
"""URLs whose parts are kept: connections ask for the same ones again and again."""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Problem: TypeAlias = tuple[int, str]
"""Why a request is refused: the status, and the text for its client."""
MALFORMED: Problem = 400, "malformed HTTP/1.1 request"
TOO_LARGE: Problem = 431, f"the head is over the limit of {MAX_HEAD} bytes"
CROWDED: Problem = 503, "there are too many connections; try again later"
CODING: Problem = 501, "the only transfer coding that is supported is chunked"

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


def scope_of(
    about: Mapping[str, Any], version: str, method: bytes, url: bytes, headers: Headers
) -> dict[str, Any]:
    """Return ASGI's scope; ``about`` is the part of it that is the connection's.

    Raises an Exception where the URL is malformed.
    """
    path, raw_path, query = _parts_of(url)
    return {
        **about,
        "http_version": version,
        "method": method.decode("ascii"),
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "state": {},
    }


@lru_cache(MAX_URLS)
def _parts_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, as text and as it came, and the query."""
    parts = httptools.parse_url(url)
    path = parts.path.decode("ascii")
    unquoted = urllib.parse.unquote(path) if "%" in path else path
    return unquoted, parts.path, parts.query or b""
