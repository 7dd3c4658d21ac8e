"""A client of HTTP/2 that sends what it is told, also what no library would.

Source: RFC 9113 (frames), RFC 7541 (headers). It lets the server have no table of headers, so all
of a reply's come as literals or from the static table.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from anabranch.router.grpc.messages import path
from tests.serve.edge.servers import shut

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW = 2**20
_SETTINGS = struct.pack(">HIHI", 1, 0, 4, _WINDOW)
"""No table of headers, and a window for the replies of these tests."""
_APPENDIX_A = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https
:status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500
accept-charset accept-encoding=gzip,deflate accept-language accept-ranges accept
access-control-allow-origin age allow authorization cache-control content-disposition
content-encoding content-language content-length content-location content-range content-type
cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards proxy-authenticate
proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate
"""
_STATIC = _APPENDIX_A.split()


@dataclass
class Reply:
    """What came back on a stream: ``reset`` is the code of RST_STREAM, or None."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None
    closed: bool = False
    """Whether the connection ended before the stream."""

    @property
    def code(self) -> int | None:
        """The status of the call, wherever it stands; None where none came."""
        found = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if found is None else int(found)

    @property
    def details(self) -> str:
        return unquote(self.trailers.get("grpc-message", self.headers.get("grpc-message", "")))


class Connection:
    """A connection on which streams are opened and read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._next = 1
        self.replies: dict[int, Reply] = {}
        self._done: set[int] = set()
        self.gone: int | None = None
        """The code of GOAWAY, if one came."""
        writer.write(_PREFACE + frame(SETTINGS, 0, 0, _SETTINGS))

    def begin(self, headers: Sequence[tuple[str, str]], flags: int = END_HEADERS) -> int:
        """Send the head of a request; the number of its stream."""
        stream, self._next = self._next, self._next + 2
        self.replies[stream] = Reply()
        self.writer.write(frame(HEADERS, flags, stream, encoded(headers)))
        return stream

    def send(self, stream: int, data: bytes, flags: int = END_STREAM) -> None:
        self.writer.write(frame(DATA, flags, stream, data))

    def ask(self, message: bytes, method: str = "ModelInfer") -> int:
        """Send a call of one message; the number of its stream."""
        stream = self.begin(call_headers((":path", path(method))))
        self.send(stream, framed(message))
        return stream

    def cancel(self, stream: int, code: int = 8) -> None:
        self.writer.write(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    async def call(self, body: bytes, *metadata: tuple[str, str], size: int = 2**14) -> Reply:
        """Ask ModelInfer with this body, framed or not."""
        stream = self.begin(call_headers(*metadata))
        for at in range(0, max(1, len(body)), size):
            is_last = at + size >= len(body)
            self.send(stream, body[at : at + size], END_STREAM if is_last else 0)
        return await self.reply(stream)

    async def reply(self, stream: int, seconds: float = 20) -> Reply:
        """Read until a stream ends, or the connection."""
        async with asyncio.timeout(seconds):
            while stream not in self._done:
                if not await self._read():
                    self.replies[stream].closed = True
                    break
        return self.replies[stream]

    async def _read(self) -> bool:
        try:
            head = await self.reader.readexactly(9)
            data = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (EOFError, OSError):
            return False
        self._take(head[3], head[4], int.from_bytes(head[5:], "big"), data)
        return True

    def _take(self, kind: int, flags: int, stream: int, data: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self.writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.writer.write(frame(PING, ACK, 0, data))
        elif kind == GOAWAY:
            self.gone = int.from_bytes(data[4:8], "big")
        elif kind == RST_STREAM:
            self.replies[stream].reset = int.from_bytes(data, "big")
            self._done.add(stream)
        elif kind in (HEADERS, DATA):
            assert not flags & PADDED
            self._answered(kind, flags, self.replies[stream], data)
            if flags & END_STREAM:
                self._done.add(stream)

    def _answered(self, kind: int, flags: int, reply: Reply, data: bytes) -> None:
        if kind == DATA:
            reply.body += data
        elif reply.headers:
            reply.trailers = dict(decoded(data))
        else:
            assert flags & END_HEADERS
            reply.headers = dict(decoded(data))


@asynccontextmanager
async def connected(port: int, source: str = "127.0.0.1") -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Connection(reader, writer)
    finally:
        await shut(writer)


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def call_headers(
    *metadata: tuple[str, str], kind: str = "application/grpc"
) -> list[tuple[str, str]]:
    """The head of a call; metadata of the names that are here already stand in their place."""
    found = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path("ModelInfer"),
        ":authority": "x",
        "content-type": kind,
        "te": "trailers",
    }
    given = [(name, value) for name, value in metadata if name not in found]
    return [*(found | {name: value for name, value in metadata if name in found}).items(), *given]


def framed(message: bytes, flag: int = 0, size: int | None = None) -> bytes:
    """A message of gRPC behind its prefix; ``size`` is what the prefix says."""
    return struct.pack(">BI", flag, len(message) if size is None else size) + message


def encoded(headers: Sequence[tuple[str, str]]) -> bytes:
    """Headers as literals that nobody keeps (RFC 7541, 6.2.2)."""
    return b"".join(
        b"\0" + _text(name.encode("latin-1")) + _text(value.encode("latin-1"))
        for name, value in headers
    )


def _text(data: bytes) -> bytes:
    return _number(len(data), 7) + data


def _number(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes((number,))
    found = bytearray((most,))
    number -= most
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes((*found, number))


def decoded(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        first = data[at]
        if first & 0x80:
            index, at = _read_number(data, at, 7)
            name, _, value = _STATIC[index - 1].partition("=")
            yield name, value
        elif first & 0xE0 == 0x20:
            _, at = _read_number(data, at, 5)
        else:
            index, at = _read_number(data, at, 6 if first & 0x40 else 4)
            name = _STATIC[index - 1].partition("=")[0]
            if index == 0:
                name, at = _read_text(data, at)
            value, at = _read_text(data, at)
            yield name, value


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    assert not data[at] & 0x80, "Huffman's code is not read here"
    size, at = _read_number(data, at, 7)
    return data[at : at + size].decode("latin-1"), at + size


def _read_number(data: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    number, at = data[at] & most, at + 1
    shift = 0
    while number >= most and shift >= 0:
        number += (data[at] & 0x7F) << shift
        shift = shift + 7 if data[at] & 0x80 else -1
        at += 1
    return number, at
