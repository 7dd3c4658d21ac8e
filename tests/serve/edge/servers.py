"""Small HTTP servers behind an edge, a client before it, and the edge itself."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from anabranch.serve.edge.binary import haproxy_binary
from anabranch.serve.edge.configuration import STATS_SOCKET, EdgeOptions
from anabranch.serve.edge.counting import Counts, read_counts
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.process import PID_FILE
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import EdgeRoute
from anabranch.serve.edge.runtime_api import RuntimeApi
from tests.ports import free_ports

BINARY = Path(haproxy_binary() or "haproxy")
OPTIONS = EdgeOptions(threads=2, slots=8)
needs_haproxy = pytest.mark.skipif(
    not sys.platform.startswith("linux") or haproxy_binary() is None, reason="HAProxy is for Linux"
)


class Server:
    """Answers on a Unix socket with its own name and the path; ``behaviour`` may be changed.

    ``answer``, ``refuse`` (hangs up at once), ``hang up`` (once it has read a request) or ``wait``
    (answers when ``go`` is set).
    """

    def __init__(self, folder: Path, name: str, behaviour: str = "answer") -> None:
        self.name = name
        self.path = folder / f"{name}.sock"
        self.address = f"unix@{self.path}"
        self.behaviour = behaviour
        self.seen: list[str] = []
        self.go = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.break_off()

    def break_off(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(EOFError, OSError):
                while self.behaviour != "refuse":
                    await self._answer(reader, writer)
        finally:
            self._open.discard(writer)
            await shut(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_head(reader)
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(line)
        if self.behaviour == "hang up":
            raise EOFError
        if self.behaviour == "wait":
            await self.go.wait()
        body = json.dumps([self.name, line.split()[1]]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = text.rstrip("\r\n").split("\r\n")
    pairs = (one.partition(":") for one in rest)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    document: Any


class Connection:
    """A client's connection, which is kept; EOFError where the edge closes it without an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def get(self, path: str) -> Reply:
        return await self.ask(path, "GET")

    async def ask(self, path: str, method: str = "POST", body: bytes = b"{}") -> Reply:
        return await self.talk(request(path, method, body))

    async def talk(self, data: bytes) -> Reply:
        self.writer.write(data)
        return await self.reply()

    async def reply(self) -> Reply:
        async with asyncio.timeout(60):
            line, headers = await read_head(self.reader)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        found = body.decode()
        return Reply(
            int(line.split()[1]),
            headers,
            json.loads(found) if found.startswith(("[", "{")) else found,
        )


def request(path: str, method: str = "POST", body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        await shut(writer)


async def ask(port: int, path: str, method: str = "POST", body: bytes = b"{}") -> Reply:
    """Ask on a connection of its own."""
    async with connection(port) as one:
        return await one.ask(path, method, body)


async def load(port: int, done: asyncio.Event, path: str) -> list[object]:
    """Ask again and again on one connection, a new one after a failure; answers and errors."""
    found: list[object] = []
    while not done.is_set():
        try:
            async with connection(port) as client:
                while not done.is_set():
                    reply = await client.ask(path)
                    found.append(reply.status)
        except (OSError, EOFError) as error:
            found.append(error)
    return found


class Site(NamedTuple):
    """An edge, its ports for HTTP and for gRPC, and the folder of everything."""

    proxy: EdgeProxy
    port: int
    grpc: int
    folder: Path


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="edge"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def free_address() -> EdgeAddress:
    """An address on loopback whose ports are free."""
    return EdgeAddress("127.0.0.1", *free_ports(2))


@asynccontextmanager
async def edge(options: EdgeOptions = OPTIONS) -> AsyncIterator[Site]:
    address = free_address()
    with short_folder() as folder:
        proxy = await EdgeProxy.start(BINARY, folder, options, address)
        try:
            yield Site(proxy, address.http, address.grpc, folder)
        finally:
            await proxy.close()


def route(*servers: Server, idempotent: bool = False) -> EdgeRoute:
    return EdgeRoute(tuple(server.address for server in servers), idempotent)


async def refusals(site: Site) -> Counts:
    """What the HAProxy of a site has refused by itself."""
    _, counts = await read_counts(RuntimeApi(site.folder / STATS_SOCKET))
    return counts


def pid_of(folder: Path) -> int:
    return int((folder / PID_FILE).read_text())
