"""A lean connection without a network: what a client sends and is sent, byte by byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.lean import LeanProtocol
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.limits import RequestLimits

RULE = BodyRule.of(RequestLimits(max_body=2**26, max_arriving=2**28))
_VARYING = re.compile(rb"date: [^\r]*\r\n|server: uvicorn\r\n")


class Wire(asyncio.Transport):
    """The server's end of a connection; ``sent`` is what the client gets."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_paused = self.is_closed = self.is_ended = False
        self.protocol: LeanProtocol

    def write(self, data: Any) -> None:
        assert not self.is_closed
        assert not self.is_ended
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    async def feed(self, data: bytes) -> None:
        """Let the server read bytes, outside of all tasks as a loop does."""
        if not self.is_closed:
            asyncio.get_running_loop().call_soon(self.protocol.data_received, data)
        await asyncio.sleep(0)

    async def hang_up(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        await asyncio.sleep(0)

    @property
    def is_over(self) -> bool:
        """Whether the client reads the end of the connection."""
        return self.is_closed or self.is_ended


def connect(server: LeanServer) -> Wire:
    wire = Wire()
    wire.protocol = server.protocol()
    wire.protocol.connection_made(wire)
    return wire


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def replies(data: bytes, heads: Iterable[int] = ()) -> list[Reply]:
    """The replies in a stream, without what varies; ``heads`` are those to HEAD, by number."""
    found: list[Reply] = []
    left, heads = data, set(heads)
    while left:
        head, end, left = left.partition(b"\r\n\r\n")
        assert end, data
        start, *lines = _VARYING.sub(b"", head + b"\r\n").decode("latin-1").splitlines()
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        size = 0 if len(found) in heads else int(dict(headers).get("content-length", 0))
        body, left = left[:size], left[size:]
        assert len(body) == size
        found.append(Reply(int(start.split()[1]), headers, body))
    return found


class Echo:
    """An application that reads a body and tells of its request, after a wait if asked for one."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.app = HttpApp(self._answer)

    async def _answer(self, request: HttpRequest) -> Any:
        self.seen.append(request.path)
        body = await request.body(RULE)
        if request.path.startswith("/wait/"):
            for _ in range(int(request.path.removeprefix("/wait/"))):
                await asyncio.sleep(0)
        if request.path == "/fail":
            raise ZeroDivisionError
        query = request.scope["query_string"].decode()
        headers = sorted(request.headers.items())
        return json_reply([request.method, request.path, query, headers, body.decode("latin-1")])


def ask(
    path: str = "/", body: bytes = b"", method: str = "POST", version: str = "1.1", **headers: str
) -> bytes:
    """A request, with a body of declared length and a request id."""
    lines = [f"{method} {path} HTTP/{version}", "host: x", "x-request-id: r"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "transfer_encoding" not in headers:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes) -> bytes:
    """A request whose body comes in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return ask("/chunks", body, transfer_encoding="chunked")
