"""Sockets of the engine's processes: who may reach them, and what they leave behind."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import EngineError
from anabranch.router.between_nodes import far_address
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


@given(host=st.ip_addresses().map(str) | st.just("engine.example"), port=st.integers(1, 65535))
def test_an_address_is_taken_apart_as_it_was_put_together(host: str, port: int) -> None:
    assert sockets.split_address(far_address(host, port)) == (host, port)
    assert sockets.split_address(f"{host}:{port}") == (host, port)


@pytest.mark.parametrize("address", ["", "engine", "engine:", "engine:http", "[::1]"])
def test_an_address_without_a_port_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        sockets.split_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_tells_whether_something_answers(host: str) -> None:
    if ipaddress.ip_address(host).version == 6 and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with sockets.tcp_listener(host) as server:
        address = far_address(host, server.getsockname()[1])
        with sockets.tcp_connection(address, 5) as connection:
            assert connection.getpeername()[0] == host
    with pytest.raises(ConnectionRefusedError):
        sockets.tcp_connection(address, 5)
