"""Replies of HAProxy's own, as its rules write them."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from grpc import StatusCode

from anabranch.router.errors import INTERRUPTED
from anabranch.router.http.doors.forms import reply_in_form

_LATER = (b"retry-after", b"1")
_HEADERS = {429: _LATER, 502: INTERRUPTED, 503: _LATER}
"""Headers of a reply, by its status."""


def page(status: int, message: str) -> str:
    """Return a reply in JSON."""
    body = orjson.dumps({"error": message}).decode()
    headers = _written([_HEADERS[status]] if status in _HEADERS else [])
    return f"status {status} content-type application/json string '{body}'{headers}"


def page_in_form(error: Exception, path: str) -> str:
    """Return the reply to an error in the form of the protocol at a path."""
    reply = reply_in_form(error, path, "")
    headers = _written(reply.headers)
    kind = "content-type application/json"
    return f"status {reply.status} {kind} string '{bytes(reply.body).decode()}'{headers}"


def _written(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return "".join(f" hdr {name.decode()} {text.decode()}" for name, text in headers)


def status(code: StatusCode, message: str) -> str:
    """Return the headers that tell a client of gRPC a status; the message needs no encoding."""
    later = " hdr retry-after 1" if "later" in message else ""
    return f'hdr grpc-status {code.value[0]} hdr grpc-message "{message}"{later}'
