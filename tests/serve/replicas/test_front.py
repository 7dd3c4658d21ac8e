"""The front as a deployment: its port, and waking graphs through Serve's queue."""

from __future__ import annotations

import asyncio
import socket
import warnings
from typing import Any

import pytest

from anabranch.errors import EngineError, Unavailable
from anabranch.router.limits import RequestLimits
from tests.router.grpc.conftest import FakeControl, connected

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from anabranch.router.grpc.servers import FrontServer
    from anabranch.serve.replicas import front
    from anabranch.serve.replicas.front import FrontControl


class Handle:
    """A Serve handle whose calls end when they are let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.shut = asyncio.Event()
        self.awake = asyncio.Event()
        self.wake = self

    def remote(self) -> asyncio.Task[Any]:
        self.calls += 1
        return asyncio.ensure_future(self.awake.wait())

    async def shutdown_async(self) -> None:
        self.shut.set()


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    made: list[Handle] = []

    def handle(deployment: str, app: str) -> Handle:
        assert (deployment, app) == ("router", "demo")
        made.append(Handle())
        return made[-1]

    monkeypatch.setattr(front.serve, "get_deployment_handle", handle)
    return made


def test_a_new_front_waits_until_the_one_before_has_let_go_of_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "_PAUSE_S", 0.01)

    async def main() -> None:
        server = FrontServer(FakeControl(), RequestLimits())
        with socket.create_server(("127.0.0.1", 0)) as before:
            port = before.getsockname()[1]
            starting = asyncio.ensure_future(front._patiently(server, "127.0.0.1", port))
            await asyncio.sleep(0.05)
            assert not starting.done()
        await starting
        async with connected(f"127.0.0.1:{port}") as stub:
            assert (await stub("ServerLive")).live
        await server.stop(0)

    asyncio.run(main())


def test_a_port_that_stays_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_BIND_S", 0.05)
    monkeypatch.setattr(front, "_PAUSE_S", 0.01)

    async def main(port: int) -> None:
        server = FrontServer(FakeControl(), RequestLimits())
        with pytest.raises(EngineError, match=f"port {port} on 127.0.0.1 is in use"):
            await front._patiently(server, "127.0.0.1", port)
        await server.stop(0)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(main(taken.getsockname()[1]))


def test_all_who_wait_for_a_graph_wait_in_one_queue(handles: list[Handle]) -> None:
    async def main() -> None:
        control = FrontControl("")
        waiting = [asyncio.ensure_future(control.wake("demo")) for _ in range(5)]
        await asyncio.sleep(0)
        (handle,) = handles
        assert handle.calls == 5
        handle.awake.set()
        await asyncio.gather(*waiting)
        await handle.shut.wait()
        again = asyncio.ensure_future(control.wake("demo"))
        await asyncio.sleep(0)
        handles[1].awake.set()
        await again
        await handles[1].shut.wait()

    asyncio.run(main())


def test_a_graph_that_does_not_wake_is_not_waited_for_without_end(
    handles: list[Handle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "_WAKE_S", 0.02)

    async def main() -> None:
        control = FrontControl("")
        with pytest.raises(Unavailable, match=r"graph .demo. did not wake within 0\.02s"):
            await control.wake("demo")
        await handles[0].shut.wait()

    asyncio.run(main())
