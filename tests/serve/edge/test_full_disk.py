"""The disk of the edge's files is full, or takes nothing more."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from anabranch.errors import StorageError
from anabranch.serve.edge.proxy import EdgeProxy
from tests.disks import fill, names, small_disk
from tests.serve.edge.servers import (
    BINARY,
    OPTIONS,
    Server,
    ask,
    free_address,
    needs_haproxy,
    pid_of,
    route,
    short_folder,
)
from tests.waiting import eventually

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"
SIZE = 256 * 1024


async def answers(port: int, name: str) -> bool:
    reply = await ask(port, PATH)
    return reply.status == 200 and reply.document[0] == name


def test_haproxy_starts_on_a_full_disk_and_soon_has_the_routes_of_now() -> None:
    async def main() -> None:
        with short_folder() as short, small_disk(short / "d", SIZE) as disk:
            address = free_address()
            async with Server(short, "first") as first, Server(short, "second") as second:
                proxy = await EdgeProxy.start(BINARY, disk, OPTIONS, address)
                try:
                    await proxy.apply({"a": route(first)})
                    kill_haproxy(disk)
                    assert await answers(address.http, "first")
                    ballast = fill(disk)
                    await proxy.apply({"a": route(second), "b": route(first)})
                    for _ in range(2):
                        kill_haproxy(disk)
                        await eventually(lambda: answers(address.http, "second"))
                        assert listening(disk) == {address.http, address.grpc}
                    ballast.unlink()
                    kill_haproxy(disk)
                    assert await answers(address.http, "second")
                finally:
                    await proxy.close()
                assert names(disk) == []

    asyncio.run(main())


def test_a_first_start_on_a_full_disk_names_the_folder_and_the_bytes() -> None:
    async def main() -> None:
        with short_folder() as short, small_disk(short / "d", SIZE) as disk:
            address = free_address()
            ballast = fill(disk)
            with pytest.raises(StorageError, match=f"^{disk} does not take .* 0 are free$"):
                await EdgeProxy.start(BINARY, disk, OPTIONS, address)
            assert names(disk) == [ballast.name]
            ballast.unlink()
            proxy = await EdgeProxy.start(BINARY, disk, OPTIONS, address)
            await proxy.close()

    asyncio.run(main())


def listening(folder: Path) -> set[int]:
    """The ports that HAProxy listens on."""
    found = psutil.Process(pid_of(folder)).net_connections("tcp")
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def kill_haproxy(folder: Path) -> None:
    """Kill HAProxy, and return once it is dead."""
    pid = pid_of(folder)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
