"""Errors as the ``status`` of a SeldonMessage.

The code is that of HTTP, as the executor has it (``executor/api/rest/client.go``). The executor
answers 500 to all that fails in itself; here the code says whose mistake it was. Reasons are those
of the wrapper (``seldon_core/flask_utils.py`` and ``wrapper.py``) where it has one, else the name
of the code.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from anabranch.router.errors import HttpReply, error_reply

_REASONS = {400: "MICROSERVICE_BAD_DATA", 500: "MICROSERVICE_INTERNAL_ERROR"}


def seldon_error(error: Exception, request_id: str) -> HttpReply:
    """Return the response to an error: its status, with the same text as over other protocols."""
    reply = error_reply(error, request_id)
    document = {"status": failure(reply.status, orjson.loads(reply.body)["error"])}
    return HttpReply(reply.status, orjson.dumps(document), reply.headers)


def failure(code: int, info: str) -> dict[str, Any]:
    """Return the status of a message in which something failed."""
    reason = _REASONS.get(code) or HTTPStatus(code).name
    return {"code": code, "info": info, "reason": reason, "status": "FAILURE"}


def success(info: str) -> dict[str, Any]:
    """Return the status of a message in which all went well; ``info`` may be empty."""
    told = {"info": info} if info else {}
    return {"code": 200, **told, "status": "SUCCESS"}
