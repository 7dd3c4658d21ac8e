"""A call of gRPC with one message each way, as HTTP/1.1 carries it behind a proxy.

The fields are those of gRPC over HTTP/2, in headers and in trailers of a body in chunks. Source:
PROTOCOL-HTTP2.md of gRPC, and RFC 9110 (6.5) for trailers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from grpc import StatusCode

from anabranch.router.grpc.codes import Ended, Status
from anabranch.router.http.lean_reply import Headers

HEADERS: Headers = ((b"content-type", b"application/grpc"),)
"""Headers of every reply."""
PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
_prefix = struct.Struct(">BI")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_HIDDEN = frozenset(
    (b"host", b"te", b"content-type", b"content-length", b"transfer-encoding", b"connection")
)
"""Headers that belong to HTTP, not to the call's metadata."""
_UNENCODED = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters of a status's message that are sent as they are, with letters and digits."""


def unframed(body: bytes | bytearray | memoryview) -> bytes:
    """Return the message of a body; Ended where that is not one whole message, uncompressed."""
    view = memoryview(body)
    flag, length = _prefix.unpack_from(view) if len(view) >= PREFIX else (0, -1)
    if length != len(view) - PREFIX:
        raise _ended(StatusCode.INTERNAL, "the body is not one whole message of gRPC")
    if flag:
        raise _ended(StatusCode.UNIMPLEMENTED, "the message is compressed; send it as it is")
    return bytes(view[PREFIX:])


def framed(message: bytes) -> tuple[bytes, bytes]:
    """Return a body of one message, in pieces."""
    return _prefix.pack(0, len(message)), message


def seconds_of(timeout: bytes | None) -> float | None:
    """Return the time of a header ``grpc-timeout``; None where it says none."""
    found = _TIMEOUT(timeout or b"")
    return int(found[1]) * _UNITS[found[2]] if found else None


def metadata_of(headers: Headers) -> dict[str, str]:
    """Return the metadata that is text, by name; of a name that came several times, the last."""
    return {
        name.decode("latin-1"): _text(value)
        for name, value in headers
        if name not in _HIDDEN and not name.startswith(b"grpc-") and not name.endswith(b"-bin")
    }


def trailers(code: StatusCode, details: str, metadata: Mapping[str, str]) -> Headers:
    """Return the trailers that tell a client how its call ended."""
    return [*_status(code, details), *((k.encode(), v.encode()) for k, v in metadata.items())]


def _status(code: StatusCode, details: str) -> Iterable[tuple[bytes, bytes]]:
    yield b"grpc-status", b"%d" % code.value[0]
    if details:
        yield b"grpc-message", quote(details, safe=_UNENCODED).encode()


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _ended(code: StatusCode, details: str) -> Ended:
    return Ended(Status(code, details, ()))
