"""Turns exceptions into the status of a gRPC call, as ``router/errors`` does for HTTP."""

from __future__ import annotations

import logging
from typing import NamedTuple

import orjson
from grpc import StatusCode

from anabranch.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NodeError,
    NotFound,
    RequestError,
    StatusError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from anabranch.router.errors import HttpReply, SlowBody, UnencodableOutput

logger = logging.getLogger("anabranch.router")

REQUEST_ID, RETRY_AFTER = "x-request-id", "retry-after"
MAX_DETAILS = 2048
"""Longest text of a status, in bytes."""

CODES: dict[type[Exception], StatusCode] = {
    InvalidRequest: StatusCode.INVALID_ARGUMENT,
    Unauthenticated: StatusCode.UNAUTHENTICATED,
    Forbidden: StatusCode.PERMISSION_DENIED,
    TooManyRequests: StatusCode.RESOURCE_EXHAUSTED,
    NotFound: StatusCode.NOT_FOUND,
    TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    RequestError: StatusCode.INVALID_ARGUMENT,
    SlowBody: StatusCode.DEADLINE_EXCEEDED,
    Conflict: StatusCode.FAILED_PRECONDITION,
    NodeError: StatusCode.INTERNAL,
    UnencodableOutput: StatusCode.INTERNAL,
    Unavailable: StatusCode.UNAVAILABLE,
    DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
}
"""Code of each error; the nearest class in the error's order of bases counts."""


_OF_HTTP = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.FAILED_PRECONDITION,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
}


class Status(NamedTuple):
    """The status of a call; ``trailer`` are pairs of metadata."""

    code: StatusCode
    details: str
    trailer: tuple[tuple[str, str], ...]


OK = Status(StatusCode.OK, "", ())
NOT_TAKEN = Status(StatusCode.CANCELLED, "the answers were not taken in time", ())


class Ended(Exception):
    """A call that has its status already, from elsewhere."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.details)


def refused(reply: HttpReply, request_id: str) -> Ended:
    """Return the control API's refusal over HTTP as the end of a call over gRPC."""
    code = _OF_HTTP.get(reply.status, StatusCode.INTERNAL)
    details = shortened(str(orjson.loads(reply.body)["error"]))
    return Ended(Status(code, details, ((REQUEST_ID, request_id),)))


def code_of(error: Exception) -> StatusCode | None:
    """Return the code of an error; None for one that nobody expected."""
    if isinstance(error, StatusError):
        return _OF_HTTP.get(error.status, CODES[NodeError])
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)


def status_of(error: Exception, request_id: str) -> Status:
    """Return the status that tells a client of an error.

    What is not in CODES is a fault of the server: its traceback goes to the log, and the client
    reads the request id to ask about.
    """
    if isinstance(error, Ended):
        return error.status
    code = code_of(error)
    trailer: tuple[tuple[str, str], ...] = ((REQUEST_ID, request_id),)
    if code is None:
        logger.error("request %s failed", request_id, exc_info=error)
        return Status(StatusCode.INTERNAL, f"internal error; request id {request_id}", trailer)
    if isinstance(error, Unavailable | TooManyRequests):
        trailer += ((RETRY_AFTER, str(error.retry_after)),)
    return Status(code, shortened(str(error)), trailer)


def shortened(message: str) -> str:
    """Return the message in at most MAX_DETAILS bytes, cut between characters."""
    data = message.encode("utf-8", "replace")
    if len(data) <= MAX_DETAILS:
        return data.decode()
    return data[: MAX_DETAILS - 3].decode("utf-8", "ignore") + "..."
