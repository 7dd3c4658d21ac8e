"""The edge of a machine goes on with what it knows while nobody tells it anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from anabranch.errors import EngineError
from anabranch.router.addresses import Addresses, Reach, RouterAddress
from anabranch.serve.calls import control_link
from anabranch.serve.edge import leaving
from anabranch.serve.edge.crowding import ConnectionLimits
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.process import find
from anabranch.serve.edge.tls.certificates import Certificates, load
from anabranch.serve.edge.tls.copies import VersionedCertificates
from anabranch.serve.replicas import edge as edge_module
from anabranch.serve.replicas.edge import Edge, SecuredEdge
from anabranch.serve.sockets import EDGE, FOLDER
from tests.certificates import Authority, name_at
from tests.serve.edge.servers import BINARY, Server, ask, free_address, needs_haproxy, short_folder
from tests.waiting import eventually

pytestmark = needs_haproxy


class Controller:
    """Tells addresses while it is there; while it is not, calls hang as they do without a head."""

    def __init__(self) -> None:
        self.found = Addresses(1)
        self.changed = asyncio.Event()
        self.followers: set[object] = set()
        self.is_away = False
        self.certificates: Certificates | None = None

    async def call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        if method == "certificates":
            await asyncio.sleep(0.01)
            assert self.certificates is not None
            return VersionedCertificates.of(self.certificates)
        assert method == "addresses"
        follower, version = arguments
        self.followers.add(follower)
        async with asyncio.timeout(timeout):
            while self.is_away or self.found.version == version:
                await self.changed.wait()
                self.changed.clear()
        return self.found

    def tell(self, *servers: Server) -> None:
        routers = tuple(RouterAddress(Reach(), Reach(near=server.address)) for server in servers)
        version = self.found.version + 1
        self.found = Addresses(version, {"digits": routers}, frozenset(), {"digits": 30.0})
        self.changed.set()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with short_folder() as found:
        monkeypatch.setenv(FOLDER, str(found))
        monkeypatch.setenv(EDGE, str(BINARY))
        # They change the process that they are called in.
        monkeypatch.setattr(edge_module, "write_logs", lambda: None)
        monkeypatch.setattr(edge_module, "start_heartbeat", lambda: None)
        yield found


@asynccontextmanager
async def started(
    monkeypatch: pytest.MonkeyPatch, controller: Controller, tls: SecuredEdge | None = None
) -> AsyncIterator[tuple[Edge, EdgeAddress]]:
    monkeypatch.setattr(control_link, "ControllerActor", lambda: controller)
    one, address = Edge.__new__(Edge), free_address()
    await one.__init__(address, ConnectionLimits(), tls)  # type: ignore[misc]
    try:
        await one.ready()
        yield one, address
    finally:
        await one.close()


def test_it_goes_on_with_the_routers_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """With the head's machine gone, and with a new HAProxy too; and a router that dies is left."""

    async def main() -> None:
        controller = Controller()
        async with (
            started(monkeypatch, controller) as (_, at),
            Server(folder, "near") as near,
            Server(folder, "other") as other,
        ):

            async def answers() -> AsyncIterator[str]:
                for _ in range(8):
                    # A router that breaks off may take a request with it, which is not sent again.
                    with suppress(EOFError):
                        reply = await ask(at.http, "/v2/models/digits/infer")
                        if reply.status == 200:
                            yield reply.document[0]

            async def answered_by(*names: str) -> bool:
                return {name async for name in answers()} == set(names)

            controller.tell(near, other)
            await eventually(lambda: answered_by("near", "other"))
            controller.is_away = True
            before = find(folder)
            assert before is not None
            before.kill()
            await before.wait()
            await eventually(lambda: answered_by("near", "other"))
            other._server.close()
            other.break_off()
            await eventually(lambda: answered_by("near"))
            controller.is_away = False
            controller.tell(near)
            await eventually(lambda: answered_by("near"))

    asyncio.run(main())


def test_it_may_be_closed_once_nothing_is_under_way_or_has_had_the_longest_time(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(leaving, "QUIET_S", 0.0)

    async def main() -> None:
        controller = Controller()
        async with (
            started(monkeypatch, controller) as (edge, at),
            Server(folder, "router") as router,
        ):
            controller.tell(router)

            async def is_there() -> bool:
                return (await ask(at.http, "/v2/models/digits/infer")).status == 200

            await eventually(is_there)
            router.behaviour, before = "wait", len(router.seen)
            asked = asyncio.create_task(ask(at.http, "/v2/models/digits/infer"))

            await eventually(lambda: len(router.seen) > before)
            assert not await edge.drain()
            assert edge._longest() == 60.0
            router.go.set()
            assert (await asked).document[0] == "router"
            await eventually(edge.drain)
            await edge.close()
            assert await edge.drain()

    asyncio.run(main())


def test_a_machine_without_the_files_speaks_tls_with_what_the_head_has_in_force(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    authority, controller = Authority(tmp_path), Controller()
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    controller.certificates = load(authority.issue("one"))

    async def main() -> None:
        async with started(monkeypatch, controller, SecuredEdge(None, False)) as (_, at):

            async def named(name: str) -> bool:
                ports = (at.http, at.grpc)
                return {await asyncio.to_thread(name_at, port) for port in ports} == {name}

            assert await named("one")
            controller.certificates = load(authority.issue("two"))
            await eventually(lambda: named("two"))

    asyncio.run(main())


def test_an_edge_that_stops_accepts_nothing_and_leaves_no_haproxy(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    async def main() -> None:
        async with started(monkeypatch, Controller()) as (one, at):
            assert find(folder) is not None
            await one.close()
            assert find(folder) is None
            with pytest.raises(ConnectionRefusedError):
                await ask(at.http, "/v2/models/digits/infer")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("variable", "problem"), [(EDGE, "has no HAProxy"), (FOLDER, "names no folder")]
)
def test_what_a_machine_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch, folder: Path, variable: str, problem: str
) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.setattr(edge_module, "BIND_S", 0.1)

    async def main() -> None:
        with pytest.raises(EngineError, match=problem):
            async with started(monkeypatch, Controller()):
                pass

    asyncio.run(main())
