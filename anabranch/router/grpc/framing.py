"""A call of gRPC with one message each way, as HTTP/1.1 carries it behind a proxy.

The fields are those of gRPC over HTTP/2, in headers and in trailers of a body in chunks. Source:
PROTOCOL-HTTP2.md of gRPC, and RFC 9110 (6.5) for trailers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from grpc import StatusCode

from anabranch.router.grpc.codes import Ended, Status
from anabranch.router.http.lean_reply import Headers
from anabranch.router.limits import LARGE
from anabranch.router.oip.raw_tensors import Buffer

HEADERS: Headers = ((b"content-type", b"application/grpc"),)
"""Headers of every reply."""
PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
_prefix = struct.Struct(">BI")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_OF_HTTP = frozenset(
    (b"host", b"te", b"content-type", b"content-length", b"transfer-encoding", b"connection")
)
"""Headers that are not metadata of the call."""
_UNENCODED = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters of a status's message that are sent as they are, with letters and digits."""


def unframed(body: Buffer, coding: str | None = None) -> tuple[Buffer, str | None]:
    """Return the message of a body, a view of a large one, and the ``coding`` if it is packed.

    Ended where that is not one whole message, packed only if there is a coding.
    """
    view = memoryview(body)
    size = len(view) - PREFIX
    is_packed = coding is not None and bytes(view[:1]) == b"\1"
    if size < 0 or view[:PREFIX] != _prefix.pack(is_packed, size):
        text = "the body is not one whole message of gRPC, in the encoding that the call names"
        raise Ended(Status(StatusCode.INTERNAL, text, ()))
    return view[PREFIX:] if size > LARGE else bytes(view[PREFIX:]), coding if is_packed else None


def framed(message: bytes) -> tuple[bytes, bytes]:
    """Return a body of one message, in pieces."""
    return _prefix.pack(0, len(message)), message


def seconds_of(timeout: bytes | None) -> float | None:
    """Return the time of a header ``grpc-timeout``; None where it says none."""
    found = _TIMEOUT(timeout or b"")
    return int(found[1]) * _UNITS[found[2]] if found else None


def metadata_of(headers: Headers) -> dict[str, str]:
    """Return the metadata that is text, by name; of a name that came several times, the last."""
    found = {}
    for name, value in headers:
        if name not in _OF_HTTP and not name.startswith(b"grpc-") and not name.endswith(b"-bin"):
            with suppress(UnicodeDecodeError):
                found[name.decode()] = value.decode()
    return found


def trailers(status: Status, metadata: Mapping[str, str]) -> Headers:
    """Return the trailers that tell a client how its call ended."""
    found = [(b"grpc-status", b"%d" % status.code.value[0])]
    if status.details:
        found.append((b"grpc-message", quote(status.details, safe=_UNENCODED).encode()))
    return [*found, *((name.encode(), value.encode()) for name, value in metadata.items())]
