"""The form of an error by the path of its request: each protocol has its own."""

from __future__ import annotations

from anabranch.router.errors import HttpReply, error_reply
from anabranch.router.http.doors.contract import ErrorForm
from anabranch.router.http.doors.document_door import DOCUMENT, document_error
from anabranch.router.http.doors.openai.errors import openai_error
from anabranch.router.http.doors.places import OPENAI, SELDON, V1
from anabranch.router.seldon.status import seldon_error

FORMS: tuple[tuple[str, ErrorForm], ...] = (
    (SELDON, seldon_error),
    ("/api/v1.0/", seldon_error),
    ("/api/v0.1/", seldon_error),
    (V1, error_reply),
    ("/v1/", openai_error),
    (OPENAI, openai_error),
)
"""Beginnings of paths, and the form of errors there; the first that fits counts."""


def form_of(path: str) -> ErrorForm:
    """Return the form of errors at a path: that of its protocol, else Open Inference's."""
    if path.endswith(DOCUMENT):
        return document_error
    return next((form for start, form in FORMS if path.startswith(start)), error_reply)


def reply_in_form(error: Exception, path: str, request_id: str) -> HttpReply:
    """Return the response to the error of a request for a path, in the form of its protocol."""
    return form_of(path)(error, request_id)
