"""Routers that do as a script says, and a gateway before them, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from anabranch.router.backend import GraphState
from anabranch.router.between_nodes import of_server, server_tls
from anabranch.router.gateway.app import Gateway
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from tests.router.control import FakeControl

MIB = 2**20


INFER = "/v2/models/demo/infer"


LIMITS = RequestLimits(max_body=200_000, max_ongoing=2)


class Asked(NamedTuple):
    """A request as a router gets it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Peer(NamedTuple):
    """The connection of a router to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, body: bytes = b"", status: str = "200 OK", *headers: str) -> None:
        head = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
        self.writer.write("\r\n".join(head).encode("latin-1") + body)
        await self.writer.drain()

    def die(self) -> None:
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                while await self.reader.read(MIB):
                    pass


Script = Callable[[Asked, Peer], Awaitable[None]]


async def read_head(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.partition(": ") for line in lines]
    return Asked(method, target, [(name.lower(), value) for name, _, value in pairs])


async def read_body(asked: Asked, reader: asyncio.StreamReader) -> bytes:
    if asked.values("transfer-encoding") != ["chunked"]:
        return await reader.readexactly(int("".join(asked.values("content-length")) or "0"))
    found = bytearray()
    while size := int(await reader.readline(), 16):
        found += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return bytes(found)


class ScriptedRouter:
    """A server at a Unix socket or, without ``path``, at a TCP port, that does as its script says.

    With ``early`` the script is called before the body of a request is read.
    """

    def __init__(self, script: Script, path: Path | None = None, early: bool = False) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self._path = path
        self._early = early
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        if self._path is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", 0, **of_server(server_tls())
            )
            self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        else:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            self.address = f"unix@{self._path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def die(self) -> None:
        """Close the socket and reset all connections, as if the process was killed."""
        assert self._server is not None
        self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                await self._turn(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # Streams would log it.
        finally:
            writer.transport.abort()

    async def _turn(self, peer: Peer) -> None:
        asked = await read_head(peer.reader)
        if not self._early:
            asked = asked._replace(body=await read_body(asked, peer.reader))
        self.asked.append(asked)
        await self.script(asked, peer)


async def ok(asked: Asked, peer: Peer) -> None:
    """Give back the body that came."""
    await peer.reply(b"" if asked.method == "HEAD" else asked.body)


async def dies(asked: Asked, peer: Peer) -> None:
    peer.die()
    await peer.until_closed()


class HeldBytes:
    """A script that answers once it is let go, and says who has come."""

    def __init__(self) -> None:
        self.come = asyncio.Semaphore(0)
        self.gone = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def __call__(self, asked: Asked, peer: Peer) -> None:
        self.come.release()
        going = asyncio.create_task(self.go.wait())
        leaving = asyncio.create_task(peer.reader.read(1))
        try:
            await asyncio.wait({going, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                self.gone.release()
                raise ConnectionResetError
            leaving.cancel()
            await asyncio.wait({leaving})
            await peer.reply(b"held")
        finally:
            going.cancel()
            leaving.cancel()


class Client:
    """A client of a gateway, by httpx and by bytes."""

    def __init__(self, port: int, http: httpx.AsyncClient, forwarder: Forwarder) -> None:
        self.http = http
        self.forwarder = forwarder
        self._port = port

    async def get(self, path: str = INFER, **more: Any) -> httpx.Response:
        return await self.http.get(path, **more)

    async def post(self, content: Any = b"{}", path: str = INFER, **more: Any) -> httpx.Response:
        return await self.http.post(path, content=content, **more)

    async def connect(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self._port))

    async def raw(self, data: bytes) -> bytes:
        """All that comes for a request, of which the connection is the last."""
        peer = await self.connect()
        peer.write(data)
        async with asyncio.timeout(30):
            found = await peer.reader.read()
        peer.die()
        return found


@asynccontextmanager
async def gateway(
    control: FakeControl, limits: RequestLimits | None = None
) -> AsyncIterator[Client]:
    """A gateway that follows what the control says, on a loopback port."""
    limits = limits or RequestLimits()
    forwarder = Forwarder(control, limits)
    server = LeanServer(Gateway(control, limits, forwarder))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.listen(listener)
    forwarder.start()
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False
        ) as http:
            yield Client(port, http, forwarder)
    finally:
        await server.close(1.0)
        await forwarder.close()


@asynccontextmanager
async def routed(
    *scripts: Script, limits: RequestLimits | None = None, early: bool = False
) -> AsyncIterator[tuple[FakeControl, Client, list[ScriptedRouter]]]:
    """The graph ``demo`` with a router for each script, the first of them at a Unix socket."""
    control = FakeControl()
    control.states = {"demo": state()}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fwd"))
        routers = [
            await stack.enter_async_context(
                ScriptedRouter(one, None if index else Path(folder, "0.sock"), early)
            )
            for index, one in enumerate(scripts)
        ]
        client = await stack.enter_async_context(gateway(control, limits))
        await control.know(demo=tuple(one.address for one in routers))
        yield control, client, routers


def state(ready: bool = True, reason: str = "") -> GraphState:
    return {"revision": 1, "live": True, "ready": ready, "reason": reason}


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main

    asyncio.run(bounded())


def message(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    assert list(response.json()) == ["error"]
    text = str(response.json()["error"])
    assert "Traceback" not in text and "sock" not in text
    return text


def head(method: str, *headers: str) -> bytes:
    """The head of a request for the graph."""
    return "\r\n".join([f"{method} {INFER} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


async def come(semaphore: asyncio.Semaphore) -> None:
    async with asyncio.timeout(30):
        await semaphore.acquire()


def under_way(client: Client) -> int:
    """How many requests routers are answering, as the gateway counts them."""
    graphs = client.forwarder._graphs.values()
    return sum(one.inside for graph in graphs for one in graph._routers.values())


def waiting(client: Client) -> int:
    """How many requests wait for a router of the graph."""
    return client.forwarder._graphs["demo"].waiting.inside


def gone(folder: str = "/nowhere") -> str:
    return f"unix@{folder}/none.sock"


def unused() -> str:
    """A TCP address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"
