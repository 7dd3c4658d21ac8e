"""Sockets of the engine's processes: who may reach them, and what they leave behind."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from anabranch.errors import EngineError
from anabranch.serve import sockets


def connected(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def test_a_unix_socket_is_for_this_user_alone_and_takes_the_place_of_one_left_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.sock"
    for _ in range(2):
        with sockets.unix_listener(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert connected(path)
        assert path.exists() and not connected(path)


def test_a_path_that_cannot_be_bound_leaves_no_socket_open(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        sockets.unix_listener(tmp_path / ("x" * 120))


def test_a_port_is_taken_as_soon_as_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_PAUSE_S", 0.01)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as before:
            port = before.getsockname()[1]
            tries = asyncio.Semaphore(0)

            async def bind() -> socket.socket:
                tries.release()
                return sockets.tcp_listener("127.0.0.1", port)

            binding = asyncio.ensure_future(sockets.patiently(bind))
            await tries.acquire()
            await tries.acquire()
            assert not binding.done()
        (await binding).close()

    asyncio.run(main())


def test_a_port_that_stays_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "BIND_S", 0.05)
    monkeypatch.setattr(sockets, "_PAUSE_S", 0.01)

    async def main(port: int) -> None:
        async def bind() -> socket.socket:
            return sockets.tcp_listener("127.0.0.1", port)

        with pytest.raises(EngineError, match=f"port {port} of 127.0.0.1: Address already in use"):
            await sockets.patiently(bind)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(main(taken.getsockname()[1]))
