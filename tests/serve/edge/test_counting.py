"""What the real HAProxy refuses by itself is in the metrics."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from grpc import StatusCode

from anabranch.serve.edge import configuration, grpc_frontend
from anabranch.serve.edge.configuration import STATS_SOCKET, EdgeOptions
from anabranch.serve.edge.counting import RefusalCounts
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.routes import GATEWAY
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import Labels, Registry
from tests.serve.edge.http2 import connected
from tests.serve.edge.servers import (
    Server,
    Site,
    ask,
    connection,
    edge,
    needs_haproxy,
    pid_of,
    route,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
LIMITS = ConnectionLimits(total=400, per_source=16)
NO_ROUTER = StatusCode.UNAVAILABLE.value[0]


class Counted:
    """A site, and what of its refusals is in a registry."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._registry = Registry()
        self._counts = RefusalCounts(RuntimeApi(site.folder / STATS_SOCKET), self._registry)

    async def look(self) -> dict[Labels, object]:
        await self._counts.look()
        return dict(self._registry.snapshot().get(ACCESS_REFUSED.name, {}))

    async def becomes(self, expected: dict[Labels, int]) -> None:
        async def has_come() -> bool:
            return await self.look() == expected

        await eventually(has_come)


@asynccontextmanager
async def counted() -> AsyncIterator[Counted]:
    options = EdgeOptions(threads=2, slots=2, connections=LIMITS)
    async with edge(options) as site, Server(site.folder, "gateway") as server:
        await site.proxy.apply({GATEWAY: route(server)})
        found = Counted(site)
        await found.look()
        yield found


async def told(site: Site, data: bytes) -> int:
    """The status of the answer to bytes on a connection of their own."""
    async with connection(site.port) as one:
        return (await one.talk(data)).status


async def malformed(site: Site) -> None:
    assert await told(site, b"GET\r\n\r\n") == 400


async def hostless(site: Site) -> None:
    assert await told(site, b"GET /v2 HTTP/1.1\r\n\r\n") == 400


async def late(site: Site) -> None:
    assert await told(site, b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-slow: a") == 408
    data = b"POST /v2 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
    assert await told(site, data) == 408


async def crowded(site: Site) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(LIMITS.per_source):
            await stack.enter_async_context(connection(site.port))
        status = 200
        while status == 200:  # HAProxy may not have seen all connections yet
            status = (await ask(site.port, "/v2", "GET", b"")).status
        assert status == 429


@pytest.mark.parametrize(
    ("attempt", "reason", "count", "patience"),
    [
        (malformed, "unreadable", 1, 600),
        (hostless, "unreadable", 1, 600),
        (late, "unreadable", 2, 1),
        (crowded, "limited", 1, 600),
    ],
)
def test_attempts_over_http(
    monkeypatch: pytest.MonkeyPatch,
    attempt: Callable[[Site], Awaitable[None]],
    reason: str,
    count: int,
    patience: int,
) -> None:
    """The edge waits ``patience`` seconds for the rest of a request."""
    monkeypatch.setattr(configuration, "REQUEST_S", patience)

    async def main() -> None:
        async with counted() as at:
            assert (await ask(at.site.port, "/v2", "GET", b"")).status == 200
            assert await at.look() == {}
            await attempt(at.site)
            await at.becomes({("http", reason): count})

    asyncio.run(main())


def test_calls_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_frontend, "START_S", 600)

    async def main() -> None:
        async with counted() as at, AsyncExitStack() as stack:
            for _ in range(LIMITS.grpc.per_source):
                await stack.enter_async_context(connection(at.site.grpc))
            code = NO_ROUTER
            while code == NO_ROUTER:
                async with connected(at.site.grpc) as client:
                    code = (await client.call(b"")).code
            assert code == StatusCode.RESOURCE_EXHAUSTED.value[0]
            await at.becomes({("grpc", "limited"): 1})

    asyncio.run(main())


def test_a_new_haproxy_begins_anew_and_nothing_counts_twice() -> None:
    async def main() -> None:
        async with counted() as at:
            for _ in range(3):
                await hostless(at.site)
            await at.becomes({("http", "unreadable"): 3})
            os.kill(pid_of(at.site.folder), signal.SIGKILL)
            await eventually(lambda: answers(at.site))
            await hostless(at.site)
            await at.becomes({("http", "unreadable"): 4})
            await hostless(at.site)
            await at.becomes({("http", "unreadable"): 5})
            # Whoever looks for the first time takes what there is for counted.
            assert await Counted(at.site).look() == {}

    asyncio.run(main())


async def answers(site: Site) -> bool:
    try:
        return (await ask(site.port, "/v2", "GET", b"")).status == 200
    except (OSError, EOFError):
        return False
