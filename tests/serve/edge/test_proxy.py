"""A real HAProxy with routes before small servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from anabranch.names import PATH_WORDS
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.routes import GATEWAY, EdgeRoute
from anabranch.serve.edge.runtime_api import RuntimeApi
from tests.serve.edge.servers import Server, Site, ask, connection, edge, load, needs_haproxy, route
from tests.waiting import eventually

pytestmark = needs_haproxy


async def servers_of(site: Site) -> set[tuple[str, str]]:
    return set((await RuntimeApi(site.folder / "admin.sock").state("routes.map")).servers)


def test_paths_find_their_servers() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "gw") as gateway,
            Server(site.folder, "r") as router,
        ):
            await site.proxy.apply({GATEWAY: route(gateway), "demo": route(router)})
            for path, name in {
                "/v2/models/demo": "r",
                "/v2/models/demo/": "r",
                "/v2/models/demo/infer": "r",
                "/v2/models/demo?x=/v2/models/other": "r",
                "/v2/models/demo/versions/1/infer": "r",
                "http://x/v2/models/demo/infer": "r",
                "/": "gw",
                "/v2": "gw",
                "/v2/models": "gw",
                "/v2/models/": "gw",
                "/v2/models?x=demo": "gw",
                "/v2/models/Demo/infer": "gw",
                "/v2/models/demos/infer": "gw",
                "/v2/models/dem%6f/infer": "gw",
                "/v2/models/demo%2Finfer": "gw",
                "/v2/models/demo;x/infer": "gw",
                "/v2/models//demo/infer": "gw",
                "//v2/models/demo/infer": "gw",
                "/V2/models/demo/infer": "gw",
                "/v2/other/demo/infer": "gw",
                "/v2/models/_gateway/infer": "gw",
                "/v2/models/g0/infer": "gw",
                "/x?/v2/models/demo/infer": "gw",
                "/v2/repository/models/demo/load": "gw",
            }.items():
                for method in ("GET", "POST"):
                    reply = await ask(site.port, path, method)
                    assert (reply.status, reply.document[0]) == (200, name), path

    asyncio.run(main())


def test_a_path_says_how_long_the_name_in_it_is() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "gw") as gateway,
            Server(site.folder, "team") as team,
            Server(site.folder, "named") as named,
        ):
            routes = {GATEWAY: route(gateway), "team": route(team), "team/name": route(named)}
            await site.proxy.apply(routes)
            for path, name in {
                "/v2/models/team": "team",
                "/v2/models/team/": "team",
                "/v2/models/team//": "team",
                **{f"/v2/models/team/{word}": "team" for word in PATH_WORDS},
                "/v2/models/team/versions/1/infer": "team",
                "/v2/models/team/docs/init.js": "team",
                "/v2/models/team/name": "named",
                "/v2/models/team/name/": "named",
                "/v2/models/team/name/infer": "named",
                "/v2/models/team/name/versions/1/infer": "named",
                "/v2/models/team/name?x=/infer": "named",
                "http://x/v2/models/team/name/infer": "named",
                "/v2/models/team/asleep": "gw",
                "/v2/models/team/asleep/infer": "gw",
                "/v2/models/team/names/infer": "gw",
                "/v2/models/team/nam/infer": "gw",
                "/v2/models/team/inferx": "gw",
                "/v2/models/other/name/infer": "gw",
                "/v2/models/name/infer": "gw",
                "/v2/models/team%2Fname/infer": "gw",
                "/v2/models/team/%69nfer": "gw",
            }.items():
                for method in ("GET", "POST"):
                    reply = await ask(site.port, path, method)
                    assert (reply.status, reply.document[0]) == (200, name), path
            del routes["team/name"]
            await site.proxy.apply(routes)
            assert (await ask(site.port, "/v2/models/team/name/infer")).document[0] == "gw"
            assert (await ask(site.port, "/v2/models/team/infer")).document[0] == "team"

    asyncio.run(main())


def test_routes_come_change_and_go() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "gw") as gateway,
            Server(site.folder, "r1") as one,
            Server(site.folder, "r2") as two,
        ):
            base = {GATEWAY: route(gateway)}

            async def names() -> set[str]:
                replies = [await ask(site.port, "/v2/models/a/infer") for _ in range(6)]
                return {reply.document[0] for reply in replies}

            await site.proxy.apply(base)
            assert await names() == {"gw"}
            await site.proxy.apply({**base, "a": route(one)})
            assert await names() == {"r1"}
            await site.proxy.apply({**base, "a": route(one, two)})
            assert await names() == {"r1", "r2"}
            await site.proxy.apply({**base, "a": route(two, idempotent=True)})
            assert await names() == {"r2"}
            await site.proxy.apply({**base, "a": EdgeRoute((), True)})
            assert await names() == {"gw"}

            async def tidied() -> bool:
                return {backend for backend, _ in await servers_of(site)} == {"gateway"}

            await eventually(tidied)

    asyncio.run(main())


def test_a_request_under_way_keeps_its_server_until_it_is_answered() -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r", "wait") as router:
            await site.proxy.apply({"a": route(router)})
            async with connection(site.port) as client:
                asked = asyncio.create_task(client.ask("/v2/models/a/infer"))

                await eventually(lambda: bool(router.seen))
                await site.proxy.apply({})
                api = RuntimeApi(site.folder / "admin.sock")

                async def in_maintenance() -> bool:
                    (text,) = await api.ask("show servers state g0")
                    rows = [line.split() for line in text.splitlines()[2:]]
                    return [row[6] for row in rows] == ["1"]

                # It has been tried to remove the server by then, in vain.
                await eventually(in_maintenance)
                assert not asked.done()
                router.go.set()
                assert (await asked).document[0] == "r"

            async def empty() -> bool:
                return not await servers_of(site)

            await eventually(empty)

    asyncio.run(main())


def test_more_graphs_than_slots(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            edge(EdgeOptions(threads=1, slots=1)) as site,
            Server(site.folder, "gw") as gateway,
            Server(site.folder, "r1") as one,
            Server(site.folder, "r2") as two,
        ):
            base = {GATEWAY: route(gateway)}
            await site.proxy.apply({**base, "a": route(one), "b": route(two)})
            assert (await ask(site.port, "/v2/models/a")).document[0] == "r1"
            assert (await ask(site.port, "/v2/models/b")).document[0] == "gw"
            await site.proxy.apply({**base, "b": route(two)})

            async def placed() -> bool:
                return (await ask(site.port, "/v2/models/b")).document[0] == "r2"

            await eventually(placed)

    asyncio.run(main())
    assert [record.message for record in caplog.records] == [
        "the edge has 1 slots: the gateway serves b"
    ]


def test_changes_under_load_lose_nothing() -> None:
    async def main() -> None:
        async with edge() as site, AsyncExitStack() as stack:
            enter = stack.enter_async_context
            servers = [await enter(Server(site.folder, f"r{index}")) for index in range(3)]
            gateway = await enter(Server(site.folder, "gw"))
            base = {GATEWAY: route(gateway)}
            await site.proxy.apply({**base, "a": route(servers[0])})
            done = asyncio.Event()
            clients = [
                asyncio.create_task(load(site.port, done, "/v2/models/a/infer")) for _ in range(8)
            ]
            for turn in range(200):
                pair = [servers[turn % 3], servers[(turn // 2) % 3]]
                graphs = {} if turn % 10 == 9 else {"a": route(*{*pair}, idempotent=turn % 4 < 2)}
                await site.proxy.apply({**base, **graphs, f"b{turn % 3}": route(servers[0])})
            done.set()
            answers = [answer for found in await asyncio.gather(*clients) for answer in found]
            assert set(answers) == {200}
            assert len(answers) > 200

    asyncio.run(main())
