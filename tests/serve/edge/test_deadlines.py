"""Routers that have a request and never answer: the edge gives them up after the graph's time."""

from __future__ import annotations

import asyncio
import time

import pytest
from grpc import StatusCode

from anabranch.router.grpc.messages import path
from anabranch.serve.edge import routes
from anabranch.serve.edge.grpc_frontend import BUFFER
from anabranch.serve.edge.routes import EdgeRoute
from tests.router.grpc.conftest import Stub, failure, infer_request
from tests.serve.edge.routers import FakeRouter, grpc_edge
from tests.serve.edge.servers import Server, ask, connection, edge, needs_haproxy, request
from tests.waiting import eventually

pytestmark = needs_haproxy
LATE = {"error": "the replica did not answer in time"}
INFER = "/v2/models/{}/infer"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "LATE_S", 0.1)


def route(longest: float, *servers: Server) -> EdgeRoute:
    return EdgeRoute(tuple(one.address for one in servers), idempotent=True, longest=longest)


def test_each_graph_has_its_own_time_and_rewards_have_another() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "hangs", "wait") as hangs,
            Server(site.folder, "slow", "wait") as slow,
        ):
            await site.proxy.apply({"short": route(0.2, hangs), "long": route(1000, slow)})
            waiting = asyncio.create_task(ask(site.port, INFER.format("long")))
            reward = asyncio.create_task(ask(site.port, "/v2/models/short/feedback"))
            await eventually(lambda: slow.seen and hangs.seen)
            began = time.monotonic()
            reply = await ask(site.port, INFER.format("short"))
            assert (reply.status, reply.document) == (504, LATE)
            assert time.monotonic() - began >= 0.2, "the graph's time was not over"
            hangs.go.set()
            slow.go.set()
            assert (await waiting).status == (await reward).status == 200
            # Another time holds at once, be it a shorter or a longer one.
            slow.go.clear()
            await site.proxy.apply({"long": route(0.2, slow)})
            assert (await ask(site.port, INFER.format("long"))).status == 504
            slow.seen.clear()
            hangs.go.clear()
            await site.proxy.apply({"short": route(0.2, hangs), "long": route(1000, slow)})
            waiting = asyncio.create_task(ask(site.port, INFER.format("long")))
            await eventually(lambda: slow.seen)
            assert (await ask(site.port, INFER.format("short"))).status == 504
            slow.go.set()
            assert (await waiting).status == 200

    asyncio.run(main())


def test_a_request_whose_time_is_over_is_not_sent_again() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "one", "wait") as one,
            Server(site.folder, "two", "wait") as two,
        ):
            await site.proxy.apply({"demo": route(0.2, one, two)})
            assert (await ask(site.port, INFER.format("demo"))).status == 504
            await eventually(lambda: one.seen or two.seen)
            assert len(one.seen) + len(two.seen) == 1

    asyncio.run(main())


def test_the_time_of_a_large_body_that_comes_slowly_does_not_count() -> None:
    body = b"x" * (4 * BUFFER)

    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"demo": route(3, router)})
            async with connection(site.port) as client:
                data = request(INFER.format("demo"), "POST", body)
                client.writer.write(data[: 2 * BUFFER])
                await client.writer.drain()
                async with Server(site.folder, "other", "wait") as hangs:
                    await site.proxy.apply({"demo": route(3, router), "other": route(3.4, hangs)})
                    # More than the time of the graph passes meanwhile.
                    assert (await ask(site.port, INFER.format("other"))).status == 504
                client.writer.write(data[2 * BUFFER :])
                assert (await client.reply()).status == 200

    asyncio.run(main())


async def call(stub: Stub) -> bytes:
    message = infer_request(name="a").SerializeToString()
    return await stub.channel.unary_unary(path("ModelInfer"))(message, timeout=30)  # type: ignore[no-any-return]


@pytest.mark.parametrize("behaviour", ["wait", "begin and wait"])
def test_a_call_over_grpc_has_the_same_time(behaviour: str) -> None:
    """Also where the router has sent the head of its reply, which keeps clients from repeating."""

    async def main() -> None:
        async with grpc_edge() as at, FakeRouter(at.site.folder, "r", behaviour) as router:
            await at.route(a=route(0.2, router))
            error = await failure(call(at.stub))
            assert error.code() is StatusCode.DEADLINE_EXCEEDED
            assert error.details() == "the router did not answer in time"

    asyncio.run(main())
