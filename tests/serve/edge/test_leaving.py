"""An edge that leaves accepts nothing, answers what it has, and knows when it may end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from anabranch.serve.edge import leaving
from anabranch.serve.edge.leaving import Leaving
from tests.serve.edge.servers import (
    Connection,
    Server,
    Site,
    connection,
    edge,
    needs_haproxy,
    pid_of,
    route,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"
FOREVER = 3600.0


@dataclass
class Busy:
    """An edge with a request under way at ``router``, on a connection of its own."""

    site: Site
    router: Server
    asked: asyncio.Task[object]
    kept: Connection
    """Another connection, on which there was a request before."""


@asynccontextmanager
async def busy() -> AsyncIterator[Busy]:
    async with edge() as site, Server(site.folder, "r") as router:
        await site.proxy.apply({"a": route(router)})
        async with connection(site.port) as kept, connection(site.port) as client:
            await kept.ask(PATH)
            router.behaviour, before = "wait", len(router.seen)

            async def arrived() -> bool:
                return len(router.seen) > before

            asked = asyncio.create_task(client.ask(PATH))
            await eventually(arrived)
            yield Busy(site, router, asked, kept)


async def refuses(port: int) -> bool:
    try:
        async with connection(port):
            return False
    except ConnectionRefusedError:
        return True


def test_what_is_under_way_ends_and_kept_connections_close_after_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "QUIET_S", 0.0)

    async def main() -> None:
        async with busy() as one:
            end = Leaving(one.site.proxy, lambda: FOREVER)
            assert not await end.is_over()
            assert await refuses(one.site.port) and await refuses(one.site.grpc)
            async with Server(one.site.folder, "other") as other:
                await one.site.proxy.apply({"a": route(other)})  # a router that has moved
                reply = await one.kept.ask(PATH)
            assert (reply.document[0], reply.headers["connection"]) == ("other", "close")
            assert await one.kept.reader.read() == b""
            assert not await end.is_over()
            one.router.go.set()
            assert (await one.asked).document[0] == "r"  # type: ignore[attr-defined]
            await eventually(end.is_over)

    asyncio.run(main())


def test_connections_that_are_kept_have_some_time_for_another_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "QUIET_S", FOREVER)

    async def main() -> None:
        async with edge() as site:
            end = Leaving(site.proxy, lambda: FOREVER)
            assert not await end.is_over()
            assert await site.proxy.under_way() == 0
            assert not await end.is_over()

    asyncio.run(main())


def test_an_owner_that_starts_anew_goes_on_with_it() -> None:
    async def main() -> None:
        async with busy() as one:
            assert not await Leaving(one.site.proxy, lambda: FOREVER).is_over()
            assert not await Leaving(one.site.proxy, lambda: FOREVER).is_over()
            one.router.go.set()
            await one.asked

    asyncio.run(main())


def test_no_request_holds_it_for_longer_than_one_may_take() -> None:
    async def main() -> None:
        async with busy() as one:
            longest = FOREVER
            end = Leaving(one.site.proxy, lambda: longest)
            assert not await end.is_over()
            longest = 0.0
            assert await end.is_over()
            one.router.go.set()
            await one.asked

    asyncio.run(main())


def test_an_haproxy_that_ends_meanwhile_is_not_started_again() -> None:
    async def main() -> None:
        async with edge() as site:
            end = Leaving(site.proxy, lambda: FOREVER)
            assert not await end.is_over()
            os.kill(pid_of(site.folder), signal.SIGKILL)
            await eventually(end.is_over)
            assert await refuses(site.port)

    asyncio.run(main())
