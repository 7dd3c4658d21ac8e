"""Errors in OpenAI's form, and errors that name a field of the body."""

from __future__ import annotations

from typing import Any

import orjson

from anabranch.errors import InvalidRequest, NotFound, TooManyRequests, Unauthenticated
from anabranch.router.errors import HttpReply, error_reply

INVALID = "invalid_request_error"
_SERVER = 500


class FieldError(InvalidRequest):
    """A field of the body that cannot be taken: ``param`` is its name."""

    def __init__(self, param: str, message: str) -> None:
        self.param, self.message = param, message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        return (type(self), (self.param, self.message))


class UnknownModel(NotFound):
    """No graph of that name answers here."""


class UnsuitableModel(NotFound):
    """The graph has no input, or no output, for this endpoint."""


def openai_error(error: Exception, request_id: str) -> HttpReply:
    """Return the response to an error: its status, and ``{"error": {"message", "type", …}}``.

    BodyFields as in ``openai/types/shared/error_object.py`` of OpenAI's Python package.
    """
    reply = error_reply(error, request_id)
    document = {
        "message": orjson.loads(reply.body)["error"],
        "type": _type(error, reply.status),
        "param": _param(error),
        "code": _code(error),
    }
    return HttpReply(reply.status, orjson.dumps({"error": document}), reply.headers)


def _type(error: Exception, status: int) -> str:
    if status >= _SERVER:
        return "server_error"
    return "requests" if isinstance(error, TooManyRequests) else INVALID


def _param(error: Exception) -> Any:
    if isinstance(error, FieldError):
        return error.param
    return "model" if isinstance(error, NotFound) else None


def _code(error: Exception) -> str | None:
    if isinstance(error, UnsuitableModel):
        return None
    kinds = {
        NotFound: "model_not_found",
        Unauthenticated: "invalid_api_key",
        TooManyRequests: "rate_limit_exceeded",
    }
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), None)
