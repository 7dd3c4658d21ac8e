"""The edge finds the graph in a path as the gateway does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from anabranch.names import PATH_WORDS, graph_in
from anabranch.router.http.doors.places import graph_at
from anabranch.serve.edge.routes import GATEWAY, LATE_S, EdgeRoute
from tests.serve.edge.servers import (
    OPTIONS,
    Server,
    ask,
    connection,
    edge,
    needs_haproxy,
    route,
)

pytestmark = needs_haproxy

GRAPHS = ("demo", "team", "team/name", "v1", "default", "api/x", "demo/v1", "team/api")
PATHS = {
    "/v1/models/demo": "demo",
    "/v1/models/demo/": "demo",
    "/v1/models/demo:predict": "demo",
    "/v1/models/demo:explain?x=1": "demo",
    "/v1/models/demo/metadata": "demo",
    "/v1/models/demo/versions/3": "demo",
    "/v1/models/demo/versions/3:predict": "demo",
    "/v1/models/demo/versions/3/metadata": "demo",
    "/v1/models/team/name": "team/name",
    "/v1/models/team/name:predict": "team/name",
    "/v1/models/team/name/versions/3:predict": "team/name",
    "/v1/models/team:predict": "team",
    "/v1/models/team/asleep:predict": "gw",
    "/v1/models/demos:predict": "gw",
    "/v1/models/dem%6f:predict": "gw",
    "/v1/models/demo%3Apredict": "gw",
    "/v1/models": "gw",
    "/v1/models/": "gw",
    "/v1/models/:predict": "gw",
    "/v1/chat/completions": "gw",
    "/seldon/default/demo/api/v1.0/predictions": "demo",
    "/seldon/demo/api/v1.0/predictions": "demo",
    "/seldon/demo/api/v0.1/feedback": "demo",
    "/seldon/team/name/api/v1.0/predictions": "team/name",
    "/seldon/team/name/ready": "team/name",
    "/seldon/demo/api/v1x0/predictions": "gw",
    "/seldon/demo/api/v1.0": "gw",
    "/seldon/team/api/v1.0": "team/api",
    "/seldon/demo": "gw",
    "/seldon/other/demo/api/v1.0/predictions": "gw",
    "/seldon.protos.Seldon/Predict": "gw",
    "/openai/demo/v1/chat/completions": "demo",
    "/openai/demo/v1": "demo",
    "/openai/demo/v1/models/demo": "demo",
    "/openai/team/name/v1/models": "team/name",
    "/openai/team/v1/models": "team",
    "/openai/demo/v1/v1/models": "demo/v1",
    "/openai/demo/v2/models": "gw",
    "/openai/demo/v1x": "gw",
    "/openai//v1/models": "gw",
    "/openai/demo": "gw",
}
NAMES = ("demo", "team", "name", "v1", "default", "api", "x")
SEGMENTS = (
    *NAMES * 8,
    *("v1.0", "v0.1", "versions", "3", "demo:predict", "name:explain", "3:predict", "") * 3,
    *(":", "a:b", "models", "predictions"),
    *sorted(PATH_WORDS),
)
STARTS = ("/v2/models", "/v1/models", "/seldon", "/openai", "/v1", "")


def named(path: str) -> str | None:
    """The graph that the gateway finds in a path."""
    path = path.partition("?")[0]
    if path.startswith("/v2/models/"):
        return graph_in(path.removeprefix("/v2/models/"))
    return graph_at(path)


def made_paths(count: int) -> Iterator[str]:
    """Paths of the protocols with names and words in any order."""
    chosen = random.Random(16)
    for _ in range(count):
        parts = chosen.choices(SEGMENTS, k=chosen.randint(1, 6))
        yield "/".join([chosen.choice(STARTS), *parts])


def test_the_edge_and_the_gateway_agree() -> None:
    async def main() -> None:
        async with edge(OPTIONS) as site, AsyncExitStack() as stack:
            enter = stack.enter_async_context
            gateway = await enter(Server(site.folder, "gw"))
            servers = {
                name: await enter(Server(site.folder, name.replace("/", "_"))) for name in GRAPHS
            }
            routes = {name: route(server) for name, server in servers.items()}
            await site.proxy.apply({GATEWAY: route(gateway), **routes})
            client = await enter(connection(site.port))

            async def asked(path: str) -> str:
                reply = await client.ask(path)
                assert reply.status == 200, path
                found = str(reply.document[0])
                return found.replace("_", "/")

            for path, expected in PATHS.items():
                assert await asked(path) == expected, path
                if "%" not in path:
                    told = named(path)
                    assert (told if told in GRAPHS else "gw") == expected, path
            reached = set()
            for path in made_paths(3000):
                found = await asked(path or "/")
                told = named(path)
                assert found == (told if told in GRAPHS else "gw"), path
                reached.add(found)
            assert reached == {"gw", *GRAPHS}

    asyncio.run(main())


DOORS = (
    "/v2/models/demo/predict",
    "/v1/models/demo:predict",
    "/seldon/default/demo/api/v1.0/predictions",
    "/openai/demo/v1/chat/completions",
)


@pytest.mark.parametrize("path", DOORS)
def test_only_requests_of_idempotent_graphs_are_sent_again(path: str) -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "good") as good,
            Server(site.folder, "bad", "hang up") as bad,
        ):
            for idempotent, statuses in ((True, {200}), (False, {200, 502})):
                await site.proxy.apply({"demo": route(bad, good, idempotent=idempotent)})
                found = [(await ask(site.port, path)).status for _ in range(6)]
                assert set(found) == statuses

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "field"), [(path, "status" if "seldon" in path else "error") for path in DOORS]
)
def test_a_router_that_is_late_is_given_up(path: str, field: str) -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r", "wait") as router:
            late = EdgeRoute((router.address,), True, longest=-LATE_S + 0.2)
            await site.proxy.apply({"demo": late})
            reply = await ask(site.port, path)
            assert (reply.status, set(reply.document)) == (504, {field})

    asyncio.run(main())
