"""Replies of HAProxy's own, as its rules write them: each in the form of its door's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from grpc import StatusCode

from anabranch.errors import StatusError
from anabranch.router.errors import INTERRUPTED, error_reply
from anabranch.router.http.doors.forms import FORMS

_LATER = " hdr retry-after 1"
_HEADERS = {429: _LATER, 502: f" hdr {b' '.join(INTERRUPTED).decode()}", 503: _LATER}
"""Header of a reply, by its status."""
_FORM = "txn.form"
"""Variable of HAProxy that holds the bit of a form."""
_BITS = {form: 1 << index for index, form in enumerate(dict.fromkeys(form for _, form in FORMS))}
"""Forms of errors, those that come first in FORMS before others, each with a bit."""


class EdgeError(StatusError):
    """HAProxy fails a request with a status that no error of a router has."""

    def __str__(self) -> str:
        return self.reason


def form_rules() -> Iterator[str]:
    """Return the rules by which HAProxy knows the form of a request's errors before all others.

    They hold before a body has arrived, where rules on requests do not; of several that fit, the
    last counts.
    """
    for form, bit in reversed(_BITS.items()):
        starts = " ".join(start for start, other in FORMS if other is form)
        yield f"tcp-request content set-var({_FORM}) int({bit}) if {{ path_beg {starts} }}"


def page(error: Exception) -> str:
    """Return the reply to an error over HTTP: that of the request's form, else Open Inference's."""
    code = error_reply(error, "").status
    text = "".join(
        f"%[var({_FORM},{_BITS[error_reply]}),and({bit}),iif({_quoted(form(error, '').body)},)]"
        for form, bit in _BITS.items()
    )
    return f"status {code} content-type application/json lf-string '{text}'{_HEADERS.get(code, '')}"


def _quoted(body: bytes | memoryview) -> str:
    """Return a text as an argument of HAProxy's, whose escapes are those of JSON."""
    return orjson.dumps(bytes(body).decode()).decode()


def status(code: StatusCode, message: str) -> str:
    """Return the headers that tell a client of gRPC a status; the message needs no encoding."""
    later = _LATER if "later" in message else ""
    return f'hdr grpc-status {code.value[0]} hdr grpc-message "{message}"{later}'
