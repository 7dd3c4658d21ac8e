"""Those who call another node, without Ray: ``python -m tests.e2e.near_process ADDRESS``.

Over streams, the gateway, the front and the edge, each asks ``far_process`` at the address: once,
then for what never comes, and again until there are answers. A line of JSON tells of each round.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import grpc
import uvloop

from anabranch.errors import Unavailable
from anabranch.router.between_nodes import node_folder
from anabranch.router.grpc.servers import FrontServer
from anabranch.router.limits import RequestLimits
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.edge.routes import EdgeRoute
from anabranch.serve.edge.watch import RouterWatch
from anabranch.serve.streams.lost import CallLost
from tests.e2e.far_process import CALLS, GRPC, HTTP
from tests.router.control import FakeControl
from tests.router.gateway.scripted import gateway, state
from tests.router.grpc.conftest import Stub, connected, infer_request
from tests.serve.edge.servers import OPTIONS, Server, Site, connection, edge, request
from tests.serve.members import ListedMembers
from tests.serve.streams.ends import SECRET

DEADLINE_S = 120.0
WAIT = "x-wait"
WAYS = 5


class Callers:
    """One caller of each kind."""

    calls: ReplicaCalls
    http: Any
    stub: Stub
    site: Site

    def __init__(self, far: str, near: Server) -> None:
        self._far, self._near = far, near
        self._watch = RouterWatch(self._route, self._give_up)
        self._routers: tuple[str, ...] = (f"{far}:{HTTP}",)

    async def start(self, stack: AsyncExitStack) -> None:
        self.calls = ReplicaCalls("forest", ListedMembers(f"{self._far}:{CALLS}"), SECRET)
        control = FakeControl()
        control.states = {"demo": state()}
        self.http = (await stack.enter_async_context(gateway(control))).http
        await control.know(demo=(f"{self._far}:{HTTP}",))
        fronted = FakeControl()
        front = FrontServer(fronted, RequestLimits())
        port = await front.start("127.0.0.1", 0)
        await fronted.know(demo=(f"{self._far}:{GRPC}",))
        self.stub = await stack.enter_async_context(connected(f"127.0.0.1:{port}"))
        options = replace(OPTIONS, nodes=node_folder())
        self.site = await stack.enter_async_context(edge(options))
        self._watch.know(self._routers)
        await self._route()

    async def go_elsewhere(self) -> None:
        """Have the edge know another router of the graph that is idempotent."""
        self._routers = (*self._routers, self._near.address)
        self._watch.know(self._routers)
        await self._route()

    async def _route(self) -> None:
        """Do what the actor of the edge does."""
        routers = self._watch.living(self._routers)
        alone = tuple(one for one in routers if one != self._near.address)
        routes = {"again": EdgeRoute(routers, True), "once": EdgeRoute(alone, False)}
        await self.site.proxy.apply(routes)

    async def _give_up(self, address: str) -> None:
        await self.site.proxy.give_up(address)

    async def ask(self, *, waits: bool = False) -> dict[str, Any]:
        """Return the answers, or the ends of those who wait for what never comes."""
        method = "wait" if waits else "echo"
        headers = {WAIT: "1"} if waits else {}
        ways = {
            "stream": self._called(method),
            "gateway": self._forwarded(headers),
            "front": self._served(headers),
            "again": self._routed("again", headers),
            "once": self._routed("once", headers),
        }
        return dict(zip(ways, await asyncio.gather(*ways.values()), strict=True))

    async def _called(self, method: str) -> Any:
        try:
            return await self.calls.call(method, 1)
        except CallLost as error:
            return "lost" if error.may_have_run else "not begun"
        except Unavailable:
            return "down"

    async def _forwarded(self, headers: dict[str, str]) -> Any:
        return (await self.http.post("/v2/models/demo/infer", headers=headers)).status_code

    async def _served(self, headers: dict[str, str]) -> Any:
        try:
            await self.stub("ModelInfer", infer_request(), metadata=tuple(headers.items()))
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def _routed(self, graph: str, headers: dict[str, str]) -> Any:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        async with connection(self.site.port) as client:
            client.writer.write(request(f"/v2/models/{graph}/infer", "POST", b"{}", *lines))
            async with asyncio.timeout(DEADLINE_S):
                words = (await client.reader.readline()).split()
        return int(words[1]) if words else "closed"

    async def chatter(self) -> None:
        """Make calls all the time, so that some are on their way whenever the cable is pulled."""
        while True:
            with suppress(Unavailable):
                await self.calls.call("echo", b"x" * 1000)
            await asyncio.sleep(0.05)


async def main() -> None:
    async with AsyncExitStack() as stack:
        far = sys.argv[1]
        first = await stack.enter_async_context(edge())
        near = await stack.enter_async_context(Server(first.folder, "near"))
        callers = Callers(far, near)
        await callers.start(stack)
        tell(await callers.ask())
        chatter = asyncio.create_task(callers.chatter())
        waiting = asyncio.create_task(callers.ask(waits=True))
        while await callers.calls.call("begun") < WAYS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await callers.go_elsewhere()
        tell("waiting")
        tell(await waiting)
        chatter.cancel()
        found: Any = None
        while not (found and set(map(str, found.values())) <= {"[1]", "200", "OK"}):
            found = await callers.ask()
        tell(found)


def tell(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(asyncio.wait_for(main(), DEADLINE_S))
