"""How an edge starts, what it opens, and why it may not start."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from anabranch.errors import EngineError
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.process import PID_FILE, find
from anabranch.serve.edge.proxy import EdgeProxy
from tests.ports import free_ports
from tests.serve.edge.servers import (
    BINARY,
    OPTIONS,
    Server,
    ask,
    edge,
    free_address,
    needs_haproxy,
    pid_of,
    route,
    short_folder,
)

pytestmark = needs_haproxy


def start(folder: Path, port: int, binary: Path = BINARY) -> None:
    address = EdgeAddress("127.0.0.1", port, *free_ports(1))
    asyncio.run(EdgeProxy.start(binary, folder, OPTIONS, address))


def test_nothing_is_open_but_the_ports_and_a_socket_of_the_owner() -> None:
    async def main() -> None:
        async with edge() as site:
            process = psutil.Process(pid_of(site.folder))
            listening = process.net_connections("tcp")
            assert {one.status for one in listening} == {"LISTEN"}
            assert sorted(one.laddr.port for one in listening) == sorted([site.port, site.grpc])
            mode = (site.folder / "admin.sock").stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600

    asyncio.run(main())


def test_after_its_end_nothing_is_left() -> None:
    async def main() -> None:
        address = free_address()
        with short_folder() as folder:
            proxy = await EdgeProxy.start(BINARY, folder, OPTIONS, address)
            pid = pid_of(folder)
            await proxy.close()
            assert not list(folder.iterdir())
            assert not psutil.pid_exists(pid)
            for port in (address.http, address.grpc):
                with socket.create_server(("127.0.0.1", port)):
                    pass

    asyncio.run(main())


def test_the_first_request_finds_the_routes_that_a_new_edge_begins_with() -> None:
    async def main() -> None:
        address = free_address()
        with short_folder() as folder:
            async with Server(folder, "r1") as one:
                routes = {"a": route(one)}
                proxy = await EdgeProxy.start(BINARY, folder, OPTIONS, address, routes)
                assert (await ask(address.http, "/v2/models/a/infer")).document[0] == "r1"
                await proxy.close()

    asyncio.run(main())


def test_a_taken_port() -> None:
    with short_folder() as folder, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=f"127.0.0.1:{port}: Address already in use"):
            start(folder, port)
        assert not list(folder.iterdir())


def test_a_taken_port_for_grpc_leaves_the_other_port_free() -> None:
    with short_folder() as folder, socket.create_server(("127.0.0.1", 0)) as other:
        (http,), grpc = free_ports(1), other.getsockname()[1]
        address = EdgeAddress("127.0.0.1", http, grpc)
        with pytest.raises(EngineError, match=f"127.0.0.1:{grpc}: Address already in use"):
            asyncio.run(EdgeProxy.start(BINARY, folder, OPTIONS, address))
        with socket.create_server(("127.0.0.1", http)):
            pass


def test_a_binary_that_refuses_says_why() -> None:
    with short_folder() as folder:
        binary = folder / "refusing"
        binary.write_text("#!/bin/sh\necho '[ALERT] not today' >&2\nexit 1\n")
        binary.chmod(0o700)
        (port,) = free_ports(1)
        with pytest.raises(EngineError, match="not today"):
            start(folder, port, binary)
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_no_binary() -> None:
    with short_folder() as folder, pytest.raises(EngineError, match="nowhere"):
        start(folder, *free_ports(1), folder / "nowhere")


def test_a_binary_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.serve.edge.proxy.START_S", 0.3)
    with short_folder() as folder:
        binary = folder / "mute"
        binary.write_text("#!/bin/sh\nexec sleep 1000\n")
        binary.chmod(0o700)
        with pytest.raises(EngineError, match="did not answer within"):
            start(folder, *free_ports(1), binary)
        assert not psutil.pid_exists(pid_of(folder))


def test_a_folder_with_a_long_path(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="too long"):
        start(tmp_path / ("x" * 90), 1)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "99999999", "own"])
def test_a_pid_file_alone_makes_nobody_an_orphan(tmp_path: Path, text: str) -> None:
    (tmp_path / PID_FILE).write_text(str(os.getpid()) if text == "own" else text)
    assert find(tmp_path) is None


def test_the_haproxy_of_another_folder_is_no_orphan_of_this_one() -> None:
    async def main() -> None:
        async with edge() as site:
            with short_folder() as other:
                (other / PID_FILE).write_text(str(pid_of(site.folder)))
                assert find(other) is None
            found = find(site.folder)
            assert found is not None
            assert found.pid == pid_of(site.folder)
            found.close()

    asyncio.run(main())


def test_a_process_that_has_ended_is_no_orphan(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    (tmp_path / PID_FILE).write_text(str(child.pid))
    assert find(tmp_path) is None
