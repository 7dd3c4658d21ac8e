"""Replies of HAProxy's own, as its rules write them."""

from __future__ import annotations

import orjson
from grpc import StatusCode

from anabranch.router.http.doors.forms import reply_in_form


def page(status: int, message: str) -> str:
    """Return a reply in JSON."""
    body = orjson.dumps({"error": message}).decode()
    later = " hdr retry-after 1" if status in (429, 503) else ""
    return f"status {status} content-type application/json string '{body}'{later}"


def page_in_form(error: Exception, path: str) -> str:
    """Return the reply to an error in the form of the protocol at a path."""
    reply = reply_in_form(error, path, "")
    headers = "".join(f" hdr {name.decode()} {text.decode()}" for name, text in reply.headers)
    kind = "content-type application/json"
    return f"status {reply.status} {kind} string '{reply.body.decode()}'{headers}"


def status(code: StatusCode, message: str) -> str:
    """Return the headers that tell a client of gRPC a status; the message needs no encoding."""
    later = " hdr retry-after 1" if "later" in message else ""
    return f'hdr grpc-status {code.value[0]} hdr grpc-message "{message}"{later}'
