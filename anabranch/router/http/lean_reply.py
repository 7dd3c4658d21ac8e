"""The bytes of replies on the lean socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from anabranch.router.errors import error_body

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
CLOSE = (b"connection", b"close")
CHUNKED = (b"transfer-encoding", b"chunked")
SERVICE_UNAVAILABLE = 503
_line_of = b": ".join


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
