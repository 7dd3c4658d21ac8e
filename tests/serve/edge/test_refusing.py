"""Limits that routers tell, and what HAProxy refuses by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from anabranch.serve.edge import refusing
from anabranch.serve.edge.routes import EdgeRoute
from tests.router.conftest import double, make_arms
from tests.router.grpc.conftest import infer_request
from tests.serve.edge.routers import served_graphs
from tests.serve.edge.servers import (
    Connection,
    Reply,
    Server,
    Site,
    connection,
    edge,
    needs_haproxy,
    read_head,
    refusals,
    request,
    route,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have limits hold for longer than a test takes."""
    monkeypatch.setattr(refusing, "HOLDS_S", 600)


class Limited(Server):
    """Answers once for each ``pass_one``, with the limit that it has; ``heads`` as they came."""

    def __init__(self, site: Site, name: str = "limited") -> None:
        super().__init__(site.folder, name)
        self.limit: int | None = None
        self.heads: list[dict[str, str]] = []
        self._passes = asyncio.Semaphore(0)

    def pass_one(self) -> None:
        self._passes.release()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await read_head(reader)
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.heads.append(headers)
        await self._passes.acquire()
        limit = b"" if self.limit is None else b"anabranch-limit: %d\r\n" % self.limit
        writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: 2\r\n\r\n[]" % limit)
        await writer.drain()


@asynccontextmanager
async def clients(site: Site, count: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connection(site.port)) for _ in range(count)]


async def told(router: Limited, client: Connection, limit: int | None) -> Reply:
    """Have the router tell its limit in an answer."""
    router.limit = limit
    router.pass_one()
    return await client.ask(PATH)


async def hold(router: Limited, asking: Sequence[Connection]) -> None:
    """Send a request on each connection, and return when the router has them all."""
    before = len(router.heads)
    for client in asking:
        client.writer.write(request(PATH))

    await eventually(lambda: len(router.heads) >= before + len(asking))


def test_requests_beyond_a_limit_are_refused_and_the_client_does_not_see_it() -> None:
    async def main() -> None:
        async with edge() as site, Limited(site) as router, clients(site, 3) as (a, b, c):
            await site.proxy.apply({"a": route(router)})
            reply = await told(router, a, 2)
            assert reply.status == 200
            assert "anabranch-limit" not in reply.headers
            await hold(router, (a, b))
            refused = await c.ask(PATH)
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/json"
            assert "more requests than its processor can take" in refused.document["error"]
            router.pass_one()
            router.pass_one()
            assert [(await one.reply()).status for one in (a, b)] == [200, 200]
            assert await refusals(site) == {("http", "overload"): 1}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/a/predict", lambda body: body["error"]),
        ("/v1/models/a:predict", lambda body: body["error"]),
        ("/openai/a/v1/chat/completions", lambda body: body["error"]["message"]),
        ("/seldon/a/api/v1.0/predictions", lambda body: body["status"]["info"]),
    ],
)
def test_refusals_have_the_form_of_their_protocol(path: str, told: Callable[[Any], str]) -> None:
    async def main() -> None:
        async with edge() as site, Limited(site) as router, clients(site, 2) as (a, b):
            await site.proxy.apply({"a": route(router)})
            router.limit = 1
            router.pass_one()
            await a.ask(PATH)
            await hold(router, (a,))
            refused = await b.ask(path)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["content-type"] == "application/json"
            assert "more requests than its processor can take" in told(refused.document)
            router.pass_one()

    asyncio.run(main())


def test_a_limit_holds_for_a_while_after_it_was_told_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "HOLDS_S", 3)

    async def main() -> None:
        async with edge() as site, Limited(site) as router, clients(site, 2) as (a, b):
            await site.proxy.apply({"a": route(router)})
            await told(router, a, 1)
            await hold(router, (a,))
            assert (await b.ask(PATH)).status == 503

            async def is_let_in() -> bool:
                b.writer.write(request(PATH))
                before = len(router.heads)
                answer = asyncio.create_task(b.reply())
                await eventually(lambda: answer.done() or len(router.heads) != before)
                if answer.done():
                    assert answer.result().status == 503
                    return False
                answers.append(answer)
                return True

            answers: list[asyncio.Task[Reply]] = []
            await eventually(is_let_in)
            router.limit = None
            router.pass_one()
            router.pass_one()
            assert (await answers[0]).status == (await a.reply()).status == 200

    asyncio.run(main())


@pytest.mark.parametrize(("path", "method"), [(f"{PATH}/feedback", "POST"), (PATH, "GET")])
def test_what_is_no_inference_is_not_refused(path: str, method: str) -> None:
    async def main() -> None:
        async with edge() as site, Limited(site) as router, clients(site, 2) as (a, b):
            await site.proxy.apply({"a": route(router)})
            await told(router, a, 1)
            await hold(router, (a,))
            router.pass_one()
            router.pass_one()
            assert (await b.ask(path, method)).status == 200

    asyncio.run(main())


def test_a_limit_concerns_its_graph_alone_and_counts_for_each_router() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Limited(site) as router,
            Limited(site, "twin") as twin,
            Server(site.folder, "other") as other,
            clients(site, 3) as (a, b, c),
        ):
            await site.proxy.apply({"a": route(router), "b": route(other)})
            await told(router, a, 1)
            await hold(router, (a,))
            assert (await b.ask(PATH)).status == 503
            assert (await b.ask("/v2/models/b/infer")).status == 200
            await site.proxy.apply({"a": route(router, twin), "b": route(other)})
            twin.pass_one()
            assert (await c.ask(PATH)).status == 200

    asyncio.run(main())


def test_a_router_hears_what_is_in_flight_and_what_is_refused_and_no_client_can_say_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "COUNTED_S", 600)

    async def main() -> None:
        async with edge() as site, Limited(site) as router, clients(site, 40) as every:
            await site.proxy.apply({"a": route(router)})
            client = every[0]
            client.writer.write(
                request(PATH, "POST", b"{}", "Anabranch-In-Flight: 9000", "anabranch-refusing: 1")
            )
            router.pass_one()
            assert (await client.reply()).status == 200
            told_of = {name for name in router.heads[0] if name.startswith("anabranch")}
            assert told_of == {"anabranch-client-address"}
            await hold(router, every)
            found = {head.get("anabranch-in-flight") for head in router.heads}
            assert found == {None, "16", "32"}
            for _ in every:
                router.pass_one()
            for one in every:
                assert (await one.reply()).status == 200
            await told(router, client, 1)
            assert "anabranch-refusing" not in router.heads[-1]
            await hold(router, (client,))
            for one in every[1:]:
                assert (await one.ask(PATH)).status == 503
            router.pass_one()
            assert (await client.reply()).status == 200
            await told(router, client, 1)
            assert router.heads[-1]["anabranch-refusing"] == "1"

    asyncio.run(main())


def test_a_call_over_grpc_is_refused_with_its_own_status() -> None:
    async def main() -> None:
        async with (
            served_graphs({"demo": make_arms(double)}) as (at, _),
            Limited(at.site) as router,
            clients(at.site, 1) as (client,),
        ):
            await at.route(demo=EdgeRoute((router.address,), False))
            router.limit = 1
            router.pass_one()
            assert (await client.ask("/v2/models/demo/infer")).status == 200
            client.writer.write(request("/v2/models/demo/infer"))

            await eventually(lambda: len(router.heads) == 2)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await at.stub("ModelInfer", infer_request())
            assert raised.value.code() is StatusCode.UNAVAILABLE
            assert "more requests than its processor can take" in str(raised.value.details())
            assert await refusals(at.site) == {("grpc", "overload"): 1}
            router.pass_one()
            assert (await client.reply()).status == 200

    asyncio.run(main())
