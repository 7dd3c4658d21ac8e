"""HAProxy's own errors have the form of the protocol that the path of the request tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from anabranch.serve.edge import configuration
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.routes import EdgeRoute
from tests.serve.edge.servers import (
    OPTIONS,
    Reply,
    Server,
    Site,
    ask,
    connection,
    edge,
    needs_haproxy,
    request,
    route,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
DOORS: dict[str, Callable[[Any], Any]] = {
    "/v2/models/a/infer": lambda body: body["error"],
    "/v2/models/a/predict": lambda body: body["error"],
    "/v1/models/a:predict": lambda body: body["error"],
    "/openai/a/v1/chat/completions": lambda body: body["error"]["message"],
    "/v1/chat/completions": lambda body: body["error"]["message"],
    "/seldon/default/a/api/v1.0/predictions": lambda body: body["status"]["info"],
    "/api/v0.1/predictions": lambda body: body["status"]["info"],
}
"""Paths, and how a client of the protocol finds the message of an error."""
OF_GRAPH = [path for path in DOORS if "/a" in path and not path.startswith("/api/")]
"""Paths that name the graph."""


def check(path: str, reply: Reply, status: int, said: str) -> None:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json"), path
    assert said in DOORS[path](reply.document), path
    if "status" in reply.document:
        assert reply.document["status"]["code"] == status


async def hostless(site: Site, path: str) -> Reply:
    async with connection(site.port) as client:
        return await client.talk(f"GET {path} HTTP/1.1\r\n\r\n".encode())


async def slow(site: Site, path: str) -> Reply:
    """The reply to a request whose body never comes."""
    async with connection(site.port) as client:
        return await client.talk(request(path, "POST", b"{}")[:-2])


def test_nobody_there_and_no_host() -> None:
    async def main() -> None:
        async with edge() as site:
            for path in DOORS:
                reply = await ask(site.port, path)
                check(path, reply, 503, "no replica can take the request now; try again later")
                assert reply.headers["retry-after"] == "1"
                check(path, await hostless(site, path), 400, "it has no Host")

    asyncio.run(main())


def test_a_body_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "REQUEST_S", 3)

    async def main() -> None:
        async with edge() as site:
            late = await asyncio.gather(*(slow(site, path) for path in DOORS))
        for path, reply in zip(DOORS, late, strict=True):
            check(path, reply, 408, "the request did not arrive within")

    asyncio.run(main())


def test_a_router_that_ends_and_one_that_does_not_answer() -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "a", "hang up") as router:
            await site.proxy.apply({"a": route(router)})
            for path in OF_GRAPH:
                reply = await ask(site.port, path)
                check(path, reply, 502, "the replica ended before it had answered")
                assert reply.headers["anabranch-interrupted"] == "true"
            router.behaviour = "wait"
            await site.proxy.apply({"a": EdgeRoute((router.address,), False, longest=0.0)})
            late = await asyncio.gather(*(ask(site.port, path) for path in OF_GRAPH))
            for path, reply in zip(OF_GRAPH, late, strict=True):
                check(path, reply, 504, "the replica did not answer in time")

    asyncio.run(main())


def test_a_source_with_too_many_connections() -> None:
    options = EdgeOptions(OPTIONS.threads, OPTIONS.slots, ConnectionLimits(64, 1))

    async def main() -> None:
        async with edge(options) as site, connection(site.port):

            async def is_one_too_many() -> bool:
                return (await ask(site.port, "/")).status == 429

            await eventually(is_one_too_many)
            for path in DOORS:
                reply = await ask(site.port, path)
                check(path, reply, 429, "this address has more than 1 connections")
                assert reply.headers["retry-after"] == "1"

    asyncio.run(main())
