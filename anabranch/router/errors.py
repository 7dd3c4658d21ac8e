"""Turns exceptions into responses over HTTP, for all endpoints.

Errors that only HTTP knows, beside those of ``anabranch.errors``::

    RequestError
    ├── MethodNotAllowed     405, with Allow
    ├── SlowBody             408, the body did not arrive in time
    ├── UnsupportedBody      415, a Content-Encoding that is not read
    └── TooLarge
        └── HeadersTooLarge  431
    UnencodableOutput        500, an answer that JSON cannot carry
    ClientGone               no response: nobody is there to read it
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import orjson

from anabranch.errors import (
    AnabranchError,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Interrupted,
    InvalidRequest,
    NodeError,
    NotFound,
    Quota,
    RequestError,
    StatusError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

logger = logging.getLogger("anabranch.router")

MAX_ERROR_BODY = 2048
"""Longest error body, in bytes."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Response headers, names in lower case."""
ReplyBody: TypeAlias = bytes | memoryview
INTERRUPTED = (b"anabranch-interrupted", b"true")
"""Header of a reply to a request with which a process has ended."""


class MethodNotAllowed(RequestError):
    """The path is there, but not for that method; ``allowed`` names those that it takes."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.method, self.allowed = method, tuple(sorted(allowed))
        super().__init__(f"method {method} is not allowed here; use {', '.join(self.allowed)}")

    def __reduce__(self) -> tuple[type[MethodNotAllowed], tuple[str, tuple[str, ...]]]:
        return (type(self), (self.method, self.allowed))


class SlowBody(RequestError):
    """The body of the request did not arrive in time."""


class UnsupportedBody(RequestError):
    """A body in an encoding that is not read."""


class HeadersTooLarge(TooLarge):
    """The headers of the request are over the limit."""


class UnencodableOutput(AnabranchError):
    """An output that the protocol cannot carry."""


class ClientGone(Exception):
    """The client hung up: there is nobody to answer."""


STATUS: dict[type[Exception], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    SlowBody: 408,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedBody: 415,
    TooManyRequests: 429,
    HeadersTooLarge: 431,
    RequestError: 400,
    NodeError: 500,
    UnencodableOutput: 500,
    Unavailable: 503,
    DeadlineExceeded: 504,
}
"""Status of each error; the nearest class in the error's order of bases counts. A StatusError has
its own."""


class HttpReply(NamedTuple):
    """A complete response; ``headers`` come beside Content-Type, Content-Length and the id."""

    status: int
    body: ReplyBody
    headers: Headers = ()


def error_reply(error: Exception, request_id: str) -> HttpReply:
    """Return the response to an error: its status and ``{"error": "..."}``.

    What is not in STATUS is a fault of the server: its traceback goes to the log, and the client
    reads the request id to ask about.
    """
    status = status_of(error)
    if status is None:
        logger.error("request %s failed", request_id, exc_info=error)
        return HttpReply(500, error_body(f"internal error; request id {request_id}"))
    return HttpReply(status, error_body(str(error)), _headers(error))


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of an error; None for one that nobody expected."""
    if isinstance(error, StatusError):
        return error.status
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def _headers(error: Exception) -> Headers:
    if isinstance(error, Unavailable):
        later = (b"retry-after", b"%d" % error.retry_after)
        return (later, INTERRUPTED) if isinstance(error, Interrupted) else (later,)
    if isinstance(error, TooManyRequests):
        return ((b"retry-after", b"%d" % error.retry_after), *_quota(error.quota))
    if isinstance(error, Unauthenticated):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", ", ".join(error.allowed).encode()),)
    if isinstance(error, UnsupportedBody):
        return ((b"accept-encoding", b"gzip, deflate"),)
    if isinstance(error, SlowBody):
        return ((b"connection", b"close"),)
    return ()


def _quota(quota: Quota | None) -> Headers:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-06; none without a quota."""
    if quota is None:
        return ()
    return (
        (b"ratelimit-limit", b"%d" % quota.limit),
        (b"ratelimit-remaining", b"0"),
        (b"ratelimit-reset", b"%d" % quota.reset),
        (b"ratelimit-policy", b"%d;w=%d" % (quota.limit, quota.window)),
    )


def error_body(message: str) -> bytes:
    """Return ``{"error": message}`` in at most MAX_ERROR_BODY bytes, cut between characters."""
    text = message.encode("utf-8", "replace").decode()
    body = orjson.dumps({"error": text})
    if len(body) <= MAX_ERROR_BODY:
        return body
    return orjson.dumps({"error": _cut(text, MAX_ERROR_BODY - len(b'{"error":"..."}')) + "..."})


def _cut(text: str, budget: int) -> str:
    """Return the longest start of ``text`` that takes at most ``budget`` bytes inside JSON."""
    size = 0
    for index, character in enumerate(text):
        size += len(orjson.dumps(character)) - 2
        if size > budget:
            return text[:index]
    return text
