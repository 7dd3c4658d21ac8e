"""Routers of graphs behind an edge, over gRPC: real ones, and some that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest

from anabranch.names import slashless
from anabranch.router.grpc.lean_calls import LeanCalls, beside
from anabranch.router.grpc.servers import FrontServer, RouterServer
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.routes import FRONT, EdgeRoute
from anabranch.serve.sockets import unix_address, unix_listener
from tests.router.control import FakeControl
from tests.router.grpc.conftest import Stub, connected
from tests.serve.edge.http2 import framed
from tests.serve.edge.servers import OPTIONS, Server, Site, edge, read_head

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"


class FakeRouter(Server):
    """Answers calls with a message that is its name; see ``Server`` for behaviours.

    Two more: ``begin`` (sends the head of a reply, and hangs up) and ``begin and wait``.
    """

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await read_head(reader)
        assert headers["transfer-encoding"] == "chunked"
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
        self.seen.append(line)
        if self.behaviour == "wait":
            await self.go.wait()
        if self.behaviour.startswith("begin"):
            writer.write(HEAD)
            await writer.drain()
        if self.behaviour == "begin and wait":
            await self.go.wait()
        if self.behaviour in ("begin", "hang up"):
            raise EOFError
        message = framed(self.name.encode())
        writer.write(HEAD + b"%x\r\n%b\r\n0\r\ngrpc-status: 0\r\n\r\n" % (len(message), message))
        await writer.drain()


class GrpcSite(NamedTuple):
    """An edge with a front behind it."""

    site: Site
    control: FakeControl
    behind: FrontServer
    """The front behind the edge."""
    front: FrontServer
    """Another front, which a client reaches past the edge, at ``front_port``."""
    front_port: int
    stub: Stub
    """A client of the edge."""

    async def route(self, **routes: EdgeRoute) -> None:
        await self.site.proxy.apply({**routes, FRONT: route_to_front(self.site)})


def route_to_front(site: Site) -> EdgeRoute:
    return EdgeRoute((unix_address(site.folder / "front.sock"),), idempotent=False)


@asynccontextmanager
async def grpc_edge(
    limits: RequestLimits | None = None, options: EdgeOptions = OPTIONS
) -> AsyncIterator[GrpcSite]:
    """An edge that knows its front, and no graph yet."""
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # Clients may keep a connection for a while after they have closed its channel; HAProxy is
        # killed a second after STOP_S.
        patch.setattr("anabranch.serve.edge.process.STOP_S", -0.9)
        site = await stack.enter_async_context(edge(options))
        control = FakeControl()
        fronts = [FrontServer(control, limits or RequestLimits()) for _ in range(2)]
        for front in fronts:
            stack.push_async_callback(front.stop, 0)
        port = await fronts[0].start("127.0.0.1", 0)
        await fronts[1].start_unix(site.folder / "front.sock")
        stub = await stack.enter_async_context(connected(f"127.0.0.1:{site.grpc}"))
        found = GrpcSite(site, control, fronts[1], fronts[0], port, stub)
        await found.route()
        yield found


class Router(NamedTuple):
    """A router of a graph; ``seen`` are the paths of the requests at its lean socket."""

    lean: str
    grpc: str
    seen: list[str]


@asynccontextmanager
async def router(site: Site, arms: Arms, name: str) -> AsyncIterator[Router]:
    """A graph's router as an engine has it: a server of gRPC, and a lean socket."""
    served = RouterServer(arms)
    await served.start(None, "127.0.0.1")
    seen: list[str] = []
    app = beside(GraphApp(arms), LeanCalls(arms))

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await app(scope, receive, send)

    lean = LeanServer(noted)
    path = site.folder / f"{slashless(name)}.sock"
    await lean.listen(unix_listener(path))
    try:
        yield Router(unix_address(path), served.far, seen)
    finally:
        await lean.close(0)
        await served.stop(0)


@asynccontextmanager
async def served_graphs(
    graphs: Mapping[str, Arms], options: EdgeOptions = OPTIONS
) -> AsyncIterator[tuple[GrpcSite, dict[str, Router]]]:
    """An edge before one router of each graph, which may evaluate nothing again."""
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(grpc_edge(options=options))
        found = {
            name: await stack.enter_async_context(router(at.site, arms, name))
            for name, arms in graphs.items()
        }
        await at.control.know(**{name: (one.grpc,) for name, one in found.items()})
        await at.route(**{name: EdgeRoute((one.lean,), False) for name, one in found.items()})
        yield at, found
