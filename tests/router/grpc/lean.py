"""Calls of ModelInfer over HTTP/1.1, as the edge sends them to a router's lean socket."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote

from grpc import StatusCode

from anabranch.router.grpc.lean_calls import INFER, LeanCalls, beside
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.traffic.arms import Arms
from anabranch.serve.sockets import tcp_listener

CODES = {code.value[0]: code for code in StatusCode}
TYPE = ("content-type", "application/grpc")


class Outcome(NamedTuple):
    """The end of a call, as a client sees it."""

    code: StatusCode
    details: str
    message: bytes
    trailer: dict[str, str]


def framed(message: bytes, flag: int = 0, size: int | None = None) -> bytes:
    """A message behind its prefix; ``size`` is what the prefix says of its length."""
    return struct.pack(">BI", flag, len(message) if size is None else size) + message


def request(body: bytes, *headers: tuple[str, str], path: str = INFER) -> bytes:
    """A call in one chunk, with a request id of its own."""
    lines = [f"POST {path} HTTP/1.1", "host: x", "transfer-encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in (TYPE, ("te", "trailers"), *headers)]
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + chunk + b"0\r\n\r\n"


class LeanClient:
    """A connection to a lean socket; one call after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def call(self, body: bytes, *headers: tuple[str, str]) -> Outcome:
        self.writer.write(request(body, *headers))
        return await self.outcome()

    async def outcome(self) -> Outcome:
        head = await self.head()
        assert head == ["HTTP/1.1 200 OK", "content-type: application/grpc"]
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readline() == b"\r\n"
        trailer = dict(line.split(": ", 1) for line in await self._lines())
        code = CODES[int(trailer.pop("grpc-status"))]
        details = unquote(trailer.pop("grpc-message", ""))
        assert body[:5] == struct.pack(">BI", 0, len(body) - 5)
        return Outcome(code, details, body[5:], trailer)

    async def head(self) -> list[str]:
        """The lines of a reply's head, but the one that says how its body is framed."""
        lines = await self._lines()
        lines.remove("transfer-encoding: chunked")
        return lines

    async def _lines(self) -> list[str]:
        async with asyncio.timeout(60):
            lines = [await self.reader.readline()]
            while lines[-1] not in (b"\r\n", b""):
                lines.append(await self.reader.readline())
        return [line.decode().rstrip("\r\n") for line in lines[:-1]]


@asynccontextmanager
async def lean_served(arms: Arms) -> AsyncIterator[LeanClient]:
    """A graph on a lean socket of its own, as in a router, and a client of it."""
    server = LeanServer(beside(GraphApp(arms), LeanCalls(arms)))
    listener = tcp_listener("127.0.0.1")
    port = listener.getsockname()[1]
    await server.listen(listener)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield LeanClient(reader, writer)
    finally:
        writer.close()
        await server.close(0)
