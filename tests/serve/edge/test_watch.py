"""Whether the edge sees that routers die, and that they are back, on real sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from anabranch.serve.edge import watch
from anabranch.serve.edge.watch import RouterWatch

ROUTER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
held = []
while True:
    held.append(listener.accept())
"""


class Seen:
    """What a watch tells, and a wait for it."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self.count = 0
        self.gone: list[str] = []
        self.watch = RouterWatch(self._changed, self._gone)

    async def _changed(self) -> None:
        self.count += 1
        self._told.set()

    async def _gone(self, address: str) -> None:
        self.gone.append(address)

    async def until(self, addresses: Iterable[str], living: Iterable[str]) -> None:
        async with asyncio.timeout(30):
            while self.watch.living(addresses) != tuple(living):
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def watching() -> AsyncIterator[Seen]:
    seen = Seen()
    try:
        yield seen
    finally:
        await seen.watch.close()


def router(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", ROUTER, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AGAIN_S", 0.02)


def test_a_router_that_is_killed_is_lost_and_one_that_lives_is_not(tmp_path: Path) -> None:
    paths = [tmp_path / "one.sock", tmp_path / "two.sock"]
    addresses = [f"unix@{path}" for path in paths]
    dies, lives = (router(path) for path in paths)

    async def main() -> None:
        async with watching() as seen:
            seen.watch.know(addresses)
            await seen.until(addresses, addresses)
            kill(dies)
            await seen.until(addresses, addresses[1:])
            assert not seen.gone

    try:
        asyncio.run(main())
    finally:
        kill(lives)


def test_an_address_where_nobody_ever_was_is_lost_and_is_found_once_somebody_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "late.sock"
    address = f"unix@{path}"

    async def main() -> None:
        async with watching() as seen:
            seen.watch.know([address])
            await seen.until([address], [])
            process = router(path)
            await seen.until([address], [address])
            kill(process)
            await seen.until([address], [])

    asyncio.run(main())


def test_a_connection_that_ends_alone_changes_nothing() -> None:
    async def main() -> None:
        accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await accepted.put(writer)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        address = f"{host}:{port}"
        async with server, watching() as seen:
            seen.watch.know([address])
            for _ in range(3):
                writer = await asyncio.wait_for(accepted.get(), 30)
                writer.write(b"unasked")
                writer.close()
            writer = await asyncio.wait_for(accepted.get(), 30)
            assert seen.watch.living([address]) == (address,)
            assert seen.count == 0
            writer.close()

    asyncio.run(main())


def test_an_address_that_is_not_listed_any_more_is_not_asked_and_not_remembered(
    tmp_path: Path,
) -> None:
    address = f"unix@{tmp_path / 'gone.sock'}"

    async def main() -> None:
        async with watching() as seen:
            seen.watch.know([address])
            await seen.until([address], [])
            seen.watch.know([])
            assert seen.watch.living([address]) == (address,)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "is_gone"),
    [(errno.ETIMEDOUT, True), (errno.EHOSTUNREACH, True), (errno.ECONNRESET, False)],
)
def test_a_machine_that_has_gone_is_told_from_a_process_that_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, is_gone: bool
) -> None:
    address = f"unix@{tmp_path / 'one.sock'}"
    connect, connected = watch._connect, asyncio.Queue[asyncio.StreamReader]()

    async def noted(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        found = await connect(address)
        await connected.put(found[0])
        return found

    monkeypatch.setattr(watch, "_connect", noted)
    process = router(tmp_path / "one.sock")

    async def main() -> None:
        async with watching() as seen, asyncio.timeout(30):
            seen.watch.know([address])
            (await connected.get()).set_exception(OSError(error, os.strerror(error)))
            await connected.get()  # it is looked for again
            await seen.until([address], [address])
            assert seen.gone == ([address] if is_gone else [])

    try:
        asyncio.run(main())
    finally:
        kill(process)
