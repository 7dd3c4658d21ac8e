"""Replies of HAProxy's own, as its rules write them: each in the form of its door's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from grpc import StatusCode

from anabranch.errors import StatusError
from anabranch.router.errors import INTERRUPTED, error_reply
from anabranch.router.http.doors.forms import FORMS

_LATER = (b"retry-after", b"1")
_HEADERS = {429: _LATER, 502: INTERRUPTED, 503: _LATER}
"""Header of a reply, by its status."""
_FORM = "txn.form"
"""Variable of HAProxy that holds the bit of a form."""
_BITS = {form: 1 << index for index, form in enumerate(dict.fromkeys(form for _, form in FORMS))}
"""Forms of errors, those that come first in FORMS before others, each with a bit."""


class EdgeError(StatusError):
    """HAProxy fails a request with a status that no error of a router has."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__("edge", message, status)

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
    status = error_reply(error, "").status
    name, text = (one.decode() for one in _HEADERS.get(status, (b"", b"")))
    header = f" hdr {name} {text}" if name else ""
    bodies = "".join(
        f"%[var({_FORM},{_BITS[error_reply]}),and({bit}),iif({_quoted(form(error, '').body)},)]"
        for form, bit in _BITS.items()
    )
    return f"status {status} content-type application/json lf-string '{bodies}'{header}"


def _quoted(body: bytes | memoryview) -> str:
    """Return a text as an argument of HAProxy's, whose escapes are those of JSON."""
    return orjson.dumps(bytes(body).decode()).decode()


def status(code: StatusCode, message: str) -> str:
    """Return the headers that tell a client of gRPC a status; the message needs no encoding."""
    later = " hdr retry-after 1" if "later" in message else ""
    return f'hdr grpc-status {code.value[0]} hdr grpc-message "{message}"{later}'
