"""Limits on connections, and idle time that shrinks, before the real HAProxy."""

from __future__ import annotations

import asyncio
import re
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from grpc import StatusCode

from anabranch.serve.edge.configuration import EdgeOptions, configuration
from anabranch.serve.edge.crowding import SPARE, ConnectionLimits
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.routes import GATEWAY
from tests.router.conftest import make_arms
from tests.router.grpc.conftest import infer_request
from tests.serve.edge.http2 import connected, framed
from tests.serve.edge.routers import served_graphs
from tests.serve.edge.servers import (
    Connection,
    Reply,
    Server,
    Site,
    edge,
    needs_haproxy,
    request,
    route,
    shut,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
LIMITS = ConnectionLimits(total=400, per_source=100)
GET = request("/v2", "GET", b"")


def test_the_parts_of_both_protocols_are_all_connections() -> None:
    limits = ConnectionLimits()
    assert limits.grpc == ConnectionLimits(1024, 512)
    assert ConnectionLimits(100, 100).grpc == ConnectionLimits(25, 12)
    text = configuration(EdgeOptions(threads=1), EdgeAddress("127.0.0.1", 1, 2), {})
    assert re.findall(r"^    maxconn (\d+)$", text, re.MULTILINE) == ["4096", "3072", "1024"]


def test_limits_shrink_with_the_files_that_the_system_grants() -> None:
    usual = ConnectionLimits()
    assert usual.within(2**20) == usual
    assert usual.within(256 + 2 * 1024) == ConnectionLimits(1024, 512)
    assert ConnectionLimits(100, 100).within(10) == ConnectionLimits(1, 1)


@asynccontextmanager
async def crowded(limits: ConnectionLimits = LIMITS) -> AsyncIterator[Site]:
    options = EdgeOptions(threads=2, slots=2, connections=limits)
    async with edge(options) as site, Server(site.folder, "gateway") as server:
        await site.proxy.apply({GATEWAY: route(server)})
        yield site


class Crowd:
    """Clients that keep their connections for as long as the edge lets them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _, writer in self._kept:
            await shut(writer)

    async def come(self, count: int, source: str, data: bytes = GET) -> None:
        """Open connections from an address, and send something on each."""
        for _ in range(count):
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=(source, 0)
                )
                self._kept.append((reader, writer))
                writer.write(data)
                if data:
                    await asyncio.wait_for(reader.read(2**16), 60)

    def open(self) -> int:
        """How many connections the edge has not closed."""
        return sum(not reader.at_eof() and not writer.is_closing() for reader, writer in self._kept)


async def asked(port: int, source: str, times: int = 1) -> list[Reply]:
    """Ask on a connection of its own, as often as it lets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        client = Connection(reader, writer)
        return [await client.get("/v2") for _ in range(times)]
    finally:
        await shut(writer)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the edge wait long for those that send nothing."""
    monkeypatch.setattr("anabranch.serve.edge.configuration.REQUEST_S", 600)
    monkeypatch.setattr("anabranch.serve.edge.grpc_frontend.START_S", 600)


def test_a_few_connections_are_kept() -> None:
    async def main() -> None:
        async with crowded() as site, Crowd(site.port) as crowd:
            await crowd.come(LIMITS.per_source // 2, "127.0.0.1")
            replies = await asked(site.port, "127.0.0.2", times=3)
            assert [reply.status for reply in replies] == [200] * 3
            assert crowd.open() == LIMITS.per_source // 2

    asyncio.run(main())


def test_an_idle_source_locks_nobody_out() -> None:
    """As many connections as there are in all, with one request each, and then silence."""

    async def main() -> None:
        async with crowded() as site, Crowd(site.port) as crowd:
            await crowd.come(LIMITS.total, "127.0.0.1")
            await eventually(lambda: crowd.open() <= LIMITS.per_source // 2)
            for _ in range(20):
                (own,) = await asked(site.port, "127.0.0.1")
                assert own.status == 200
            others = await asked(site.port, "127.0.0.2", times=3)
            assert [reply.status for reply in others] == [200] * 3

    asyncio.run(main())


def test_many_idle_sources_lock_nobody_out() -> None:
    async def main() -> None:
        async with crowded() as site, Crowd(site.port) as crowd:
            for number in range(2, 30):
                await crowd.come(LIMITS.per_source // 4, f"127.0.1.{number}")
            # A connection may be counted by one thread a little later than by another.
            await eventually(lambda: crowd.open() <= LIMITS.total // 2 + 2)
            for number in range(20):
                (reply,) = await asked(site.port, f"127.0.2.{number + 1}")
                assert reply.status == 200

    asyncio.run(main())


def test_a_source_that_says_nothing_is_refused_and_others_are_not(patient: None) -> None:
    async def main() -> None:
        async with crowded() as site, Crowd(site.port) as crowd:
            await crowd.come(LIMITS.per_source, "127.0.0.1", b"")
            refused = await refusal(site.port, "127.0.0.1")
            assert refused is not None and refused.status == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/json"
            assert refused.document == {
                "error": "this address has more than 100 connections, the limit of one source; "
                "use fewer, or try again later"
            }
            await crowd.come(2 * SPARE, "127.0.0.1", b"")
            while await refusal(site.port, "127.0.0.1"):
                pass
            replies = await asked(site.port, "127.0.0.2", times=3)
            assert [reply.status for reply in replies] == [200] * 3

    asyncio.run(main())


def test_sources_are_counted_and_told_over_grpc_too(patient: None) -> None:
    async def main() -> None:
        limits = ConnectionLimits(total=400, per_source=40)
        options = EdgeOptions(threads=2, slots=2, connections=limits)
        body = framed(infer_request().SerializeToString())
        async with (
            served_graphs({"demo": make_arms()}, options) as (at, _),
            Crowd(at.site.grpc) as crowd,
        ):
            await crowd.come(limits.grpc.per_source - 1, "127.0.0.1", b"")
            async with connected(at.site.grpc) as client:
                assert (await client.call(body)).code == 0
            await crowd.come(1, "127.0.0.1", b"")
            code = 0
            while code == 0:
                async with connected(at.site.grpc) as client:
                    reply = await client.call(body)
                code = reply.code
            assert reply.headers[":status"] == "200"
            assert code == StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert "more than 10 connections" in reply.details
            await crowd.come(2 * SPARE, "127.0.0.1", b"")
            async with connected(at.site.grpc, "127.0.0.2") as client:
                assert (await client.call(body)).code == 0

    asyncio.run(main())


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 10_000, reason="needs 10,000 open files"
)
def test_four_thousand_idle_connections_lock_nobody_out() -> None:
    """The attack as it was found, at the limits that an engine has."""

    async def main() -> None:
        limits = ConnectionLimits()
        async with crowded(limits) as site, Crowd(site.port) as crowd:
            await crowd.come(limits.total, "127.0.0.1")
            await eventually(lambda: crowd.open() <= limits.per_source // 2)
            for source in ("127.0.0.1", "127.0.0.2"):
                (reply,) = await asked(site.port, source)
                assert reply.status == 200

    asyncio.run(main())


async def refusal(port: int, source: str) -> Reply | None:
    """Ask until that is refused: the reply, None for a reset.

    Connections that were made before may be accepted a little later.
    """
    async with asyncio.timeout(30):
        while True:
            try:
                (reply,) = await asked(port, source)
            except (OSError, EOFError):
                return None
            if reply.status != 200:
                return reply
