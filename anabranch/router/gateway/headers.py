"""Targets and headers of requests and answers that are passed on."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from anabranch.router.errors import Headers
from anabranch.router.http.request import ID, HttpRequest

_ONE_CONNECTION = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that concern one connection only: RFC 9110, 7.6.1; trailers are not passed on."""
_HOST = b"host"
_OF_REQUEST = frozenset((ID, _HOST, b"content-length", b"expect"))
"""Headers of a request that are made anew."""
_OF_ANSWER = frozenset((ID, b"date", b"server"))
"""Headers of an answer that the gateway's own server adds."""


def target(request: HttpRequest) -> bytes:
    """The path and the query of a request as they came."""
    scope = request.scope
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = path.removeprefix(scope.get("root_path", "").rstrip("/").encode())
    query: bytes = scope.get("query_string", b"")
    return b"%b?%b" % (path, query) if query else path


def request_headers(request: HttpRequest, framing: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a request as a router gets them; ``framing`` says where the body ends."""
    raw = request.scope["headers"]
    # RFC 9112, 3.2: a request over HTTP/1.1 has a Host, one over HTTP/1.0 need not.
    hosts = [(_HOST, value) for name, value in raw if name.lower() == _HOST] or [(_HOST, b"")]
    return (*hosts, *_end_to_end(raw, _OF_REQUEST), *framing, (ID, request.id.encode()))


def answer_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a router's answer as its client gets them, beside the request's id."""
    return _end_to_end(raw, _OF_ANSWER)


def _end_to_end(raw: Iterable[tuple[bytes, bytes]], others: frozenset[bytes]) -> Headers:
    """Headers, names in lower case, but for ``others`` and those that concern one connection."""
    found = [(name.lower(), value) for name, value in raw]
    named = {
        option.strip().lower()
        for name, value in found
        if name == b"connection"
        for option in value.split(b",")
    }
    left_out = others | _ONE_CONNECTION | named
    return tuple((name, value) for name, value in found if name not in left_out)
