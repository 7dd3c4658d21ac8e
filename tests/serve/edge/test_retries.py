"""Requests whose server refuses them or breaks off."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.serve.edge.servers import OPTIONS, Server, ask, connection, edge, needs_haproxy, route

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_server_that_has_gone_costs_nothing(idempotent: bool) -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "good") as good:
            gone = Server(site.folder, "gone")
            await site.proxy.apply({"a": route(gone, good, idempotent=idempotent)})
            for _ in range(10):
                assert (await ask(site.port, PATH)).document[0] == "good"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("behaviour", "method", "idempotent", "statuses"),
    [
        ("refuse", "POST", True, {200}),
        ("refuse", "GET", False, {200}),
        ("refuse", "HEAD", False, {200}),
        ("hang up", "POST", True, {200}),
        ("hang up", "GET", False, {200}),
        ("hang up", "POST", False, {200, 502}),
        ("hang up", "PUT", False, {200, 502}),
    ],
)
def test_only_what_may_be_sent_again_is(
    behaviour: str, method: str, idempotent: bool, statuses: set[int]
) -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "good") as good,
            Server(site.folder, "bad", behaviour) as bad,
        ):
            await site.proxy.apply({"a": route(bad, good, idempotent=idempotent)})
            found = []
            for _ in range(8):
                async with connection(site.port) as client:
                    body = b"" if method == "HEAD" else b"{}"
                    if method == "HEAD":
                        client.writer.write(b"HEAD %s HTTP/1.1\r\nhost: x\r\n\r\n" % PATH.encode())
                        found.append(int((await client.reader.readline()).split()[1]))
                    else:
                        found.append((await client.ask(PATH, method, body)).status)
            assert set(found) == statuses
            if 502 in statuses:
                assert len(bad.seen) + len(good.seen) == 8

    asyncio.run(main())


@pytest.mark.parametrize("is_first", [True, False])
def test_a_post_on_a_used_connection_of_its_router_ends_its_client_s(is_first: bool) -> None:
    """The first request of a client's connection, and a later one."""

    async def main() -> None:
        options = replace(OPTIONS, threads=1)
        async with edge(options) as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router)})
            async with connection(site.port) as client, connection(site.port) as other:
                assert (await client.ask(PATH)).status == 200
                router.behaviour = "hang up"
                with pytest.raises(EOFError):
                    await (other if is_first else client).ask(PATH)
            assert len(router.seen) == 2

    asyncio.run(main())


def test_connections_that_broke_while_they_were_idle_are_not_used() -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router, idempotent=True)})
            async with connection(site.port) as client:
                for _ in range(20):
                    assert (await client.ask(PATH)).status == 200
                    router.break_off()

    asyncio.run(main())


def test_a_change_between_once_and_again_acts_at_once() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "good") as good,
            Server(site.folder, "bad", "hang up") as bad,
        ):
            for idempotent in (True, False, True):
                await site.proxy.apply({"a": route(bad, good, idempotent=idempotent)})
                found = {(await ask(site.port, PATH)).status for _ in range(6)}
                assert found == ({200} if idempotent else {200, 502})

    asyncio.run(main())


def test_a_large_body_is_sent_once_and_its_failure_told() -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "bad", "hang up") as bad:
            await site.proxy.apply({"a": route(bad, idempotent=True)})
            reply = await ask(site.port, PATH, body=b" " * 200_000)
            assert (reply.status, list(reply.document)) == (502, ["error"])
            assert reply.headers["anabranch-interrupted"] == "true"
            assert len(bad.seen) == 1

    asyncio.run(main())
