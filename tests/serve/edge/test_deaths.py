"""HAProxy dies, or its owner does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import uvloop

from anabranch.errors import EngineError
from anabranch.serve.edge import asking, proxy
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.process import drain
from anabranch.serve.edge.proxy import EdgeProxy
from tests.serve.edge.servers import (
    BINARY,
    OPTIONS,
    Server,
    ask,
    connection,
    edge,
    free_address,
    load,
    needs_haproxy,
    pid_of,
    request,
    route,
    short_folder,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"
OWNER = """
import asyncio, sys
from pathlib import Path
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import EdgeRoute
from tests.serve.edge.servers import OPTIONS

async def own(binary, folder, http, grpc, *addresses):
    address = EdgeAddress("127.0.0.1", int(http), int(grpc))
    proxy = await EdgeProxy.start(Path(binary), Path(folder), OPTIONS, address)
    await proxy.apply({"a": EdgeRoute(addresses, False)})
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(own(*sys.argv[1:]))
"""


def kill(pid: int) -> None:
    """Kill a child, and return once it is dead; its owner learns of it by itself."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_after_kill_9_a_successor_serves_the_connections_that_waited(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router)})
            assert (await ask(site.port, "/v2/models/a/infer")).document[0] == "r"
            old = pid_of(site.folder)
            done = asyncio.Event()
            clients = [
                asyncio.create_task(load(site.port, done, "/v2/models/a/infer")) for _ in range(4)
            ]
            os.kill(old, signal.SIGKILL)
            # Each of them comes while HAProxy is dead or starts, and none is refused.
            replies = await asyncio.gather(
                *(ask(site.port, "/v2/models/a/infer") for _ in range(20)), return_exceptions=True
            )
            done.set()
            broken = [found for found in replies if isinstance(found, BaseException)]
            assert not any(isinstance(error, ConnectionRefusedError) for error in broken)
            for found in await asyncio.gather(*clients):
                failures = [one for one in found if one != 200]
                assert len(failures) <= 1, failures
                assert not any(isinstance(one, ConnectionRefusedError) for one in failures)
            assert (await ask(site.port, "/v2/models/a/infer")).document[0] == "r"
            assert pid_of(site.folder) != old

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_connections_of_the_time_without_haproxy_are_all_served() -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router)})
            kill(pid_of(site.folder))
            data = request("/v2/models/a/infer")
            with socket.create_connection(("127.0.0.1", site.port)) as early:
                early.setblocking(False)
                early.sendall(data)
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(60):
                    assert (await loop.sock_recv(early, 100)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(main())


def test_routes_that_come_while_haproxy_is_dead_are_those_of_the_successor() -> None:
    async def main() -> None:
        async with (
            edge() as site,
            Server(site.folder, "r1") as one,
            Server(site.folder, "r2") as two,
        ):
            await site.proxy.apply({"a": route(one)})
            for servers in ([two], [one], [two]):
                kill(pid_of(site.folder))
                await site.proxy.apply({"a": route(*servers)})
                reply = await ask(site.port, "/v2/models/a/infer")
                assert reply.document[0] == servers[0].name

    asyncio.run(main())


def test_routes_that_no_haproxy_took_because_it_was_replaced_are_put_in_force_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            old = site.proxy._process
            reconcile = site.proxy._reconcile

            async def too_late() -> None:
                monkeypatch.setattr(site.proxy, "_reconcile", reconcile)
                kill(old.pid)
                await eventually(replaced)
                raise EngineError("HAProxy does not answer")

            async def replaced() -> bool:
                return site.proxy._process is not old

            monkeypatch.setattr(site.proxy, "_reconcile", too_late)
            await site.proxy.apply({"a": route(router)})
            assert (await ask(site.port, PATH)).document[0] == "r"

    asyncio.run(main())


async def owned(folder: Path, at: EdgeAddress, *addresses: str) -> asyncio.subprocess.Process:
    """Start an HAProxy whose owner is a process of its own, which is returned."""
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, BINARY, folder, str(at.http), str(at.grpc), *addresses),
        stdout=asyncio.subprocess.PIPE,
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"ready\n"
    return owner


async def abandoned(folder: Path, at: EdgeAddress, *addresses: str) -> int:
    """Leave an HAProxy whose owner was killed; its pid."""
    owner = await owned(folder, at, *addresses)
    owner.kill()
    await owner.wait()
    return pid_of(folder)


async def gone(pid: int) -> bool:
    """Whether a process that is nobody's child here has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_orphan_with_the_same_task_goes_on_under_a_new_owner() -> None:
    async def main() -> None:
        address = free_address()
        with short_folder() as folder:
            async with Server(folder, "r1") as one, Server(folder, "r2") as two:
                orphan = await abandoned(folder, address, one.address)
                async with connection(address.http) as client:
                    assert (await client.ask(PATH)).document[0] == "r1"
                    proxy = await EdgeProxy.start(
                        BINARY, folder, OPTIONS, address, {"a": route(two)}
                    )
                    assert pid_of(folder) == orphan
                    assert (await client.ask(PATH)).document[0] == "r1"
                    await proxy.apply({"a": route(two)})
                    assert (await client.ask(PATH)).document[0] == "r2"
                os.kill(orphan, signal.SIGKILL)

                async def served() -> bool:
                    with suppress(OSError, EOFError):
                        return (await ask(address.http, PATH)).document[0] == "r2"
                    return False

                await eventually(served)
                assert pid_of(folder) != orphan
                await proxy.close()
                assert await gone(orphan)

    asyncio.run(main())


def test_an_edge_that_is_to_end_with_its_machine_answers_what_it_has() -> None:
    async def main() -> None:
        address = free_address()
        with short_folder() as folder:
            await asyncio.to_thread(drain, folder, lambda pid: True)  # there is none
            async with Server(folder, "r", "wait") as router:
                owner = await owned(folder, address, router.address)
                pid = pid_of(folder)
                asked = asyncio.create_task(ask(address.http, PATH))
                await eventually(lambda: router.seen)
                draining = asyncio.create_task(
                    asyncio.to_thread(drain, folder, lambda parent: parent == owner.pid)
                )
                await owner.wait()
                await eventually(lambda: refused(address.http))
                router.go.set()
                assert (await asked).document[0] == "r"
                await draining
                assert await gone(pid)

    async def refused(port: int) -> bool:
        try:
            async with connection(port):
                return False
        except ConnectionRefusedError:
            return True

    asyncio.run(main())


def test_an_orphan_with_another_task_makes_room_and_finishes_its_requests() -> None:
    async def main() -> None:
        address = free_address()
        other = EdgeOptions(threads=1, slots=3)
        with short_folder() as folder:
            async with Server(folder, "r1", "wait") as one, Server(folder, "r2") as two:
                orphan = await abandoned(folder, address, one.address)
                async with connection(address.http) as client:
                    asked = asyncio.create_task(client.ask(PATH))

                    await eventually(lambda: bool(one.seen))
                    proxy = await EdgeProxy.start(BINARY, folder, other, address)
                    await proxy.apply({"a": route(two)})
                    assert (await ask(address.http, PATH)).document[0] == "r2"
                    one.go.set()
                    assert (await asked).document[0] == "r1"
                await eventually(lambda: gone(orphan))
                await proxy.close()

    asyncio.run(main())


def test_a_stopped_orphan_is_killed() -> None:
    async def main() -> None:
        address = free_address()
        with short_folder() as folder:
            orphan = await abandoned(folder, address)
            os.kill(orphan, signal.SIGSTOP)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("anabranch.serve.edge.runtime_api.TIMEOUT_S", 0.2)
                patch.setattr("anabranch.serve.edge.process.STOP_S", 0.2)
                proxy = await EdgeProxy.start(BINARY, folder, OPTIONS, address)
            assert (await ask(address.http, PATH)).status == 503
            assert await gone(orphan)
            await proxy.close()

    asyncio.run(main())


LOOKS = {
    "asked": {"PAUSE_S": 0.01, "SILENT_S": 0.5, "LOOK_S": 600.0},
    "looked at": {"PAUSE_S": 600.0, "LOOK_S": 0.01},
}
"""Pauses of the two ways to find an HAProxy that does not answer, each without the other."""


@pytest.mark.parametrize("pauses", LOOKS.values(), ids=LOOKS)
def test_an_haproxy_that_does_not_answer_is_replaced(
    pauses: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in pauses.items():
        monkeypatch.setattr(asking, name, seconds)

    async def main() -> None:
        async with edge() as site, Server(site.folder, "r") as router:
            await site.proxy.apply({"a": route(router)})
            old = pid_of(site.folder)
            os.kill(old, signal.SIGSTOP)
            await eventually(lambda: gone(old))
            assert (await ask(site.port, PATH)).document == ["r", PATH]
            assert pid_of(site.folder) != old

    asyncio.run(main())


def test_an_edge_that_ends_again_and_again_is_started_after_a_pause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_STEADY_S", 3600.0)  # none lives for so long here

    async def main() -> None:
        async with edge() as site:
            for _ in range(4):
                kill(pid := pid_of(site.folder))

                async def again(old: int = pid) -> bool:
                    with suppress(OSError, ValueError, EOFError):
                        return pid_of(site.folder) != old and (await ask(site.port, "/")).status > 0
                    return False

                await eventually(again)

    asyncio.run(main())
    # HAProxy may be killed before its owner knows that it is there.
    found = [record.message for record in caplog.records if "again in" in record.message]
    pauses = (0.1, 0.2, 0.4, 0.4)
    assert found == [f"HAProxy ended; it starts again in {pause}s" for pause in pauses]
