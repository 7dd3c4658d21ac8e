"""A graph's own port: routers come, go and die, and whoever connects is answered."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from anabranch.errors import EngineError
from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import HttpRequest
from anabranch.serve import own_port, sockets
from anabranch.serve.own_port import OwnPort, obtain, opened_port, own_host
from tests.ports import free_ports
from tests.waiting import until

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
CLIENTS = 4
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the engine's sockets, of a path that is short enough for their names."""
    path = Path(tempfile.mkdtemp(prefix="ports-"))
    monkeypatch.setenv(sockets.FOLDER, str(path))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def ask(port: int) -> int:
    """Ask on a new connection; the number of the process that answered."""
    with socket.create_connection((HOST, port), timeout=30) as client:
        client.sendall(REQUEST)
        return answered(client)


def answered(client: socket.socket) -> int:
    reply = b"".join(iter(lambda: client.recv(2**16), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), reply
    return int(body)


class Router:
    """A process that answers at the port; ``Routers`` starts it."""

    def __init__(self, graph: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.port_router", graph, str(port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def until_it_says(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def end(self, clients: Load) -> None:
        """End as a router that is replaced, once no client can still be about to ask it."""
        self._tell()
        self.until_it_says("leaves")
        clients.all_again()
        self._tell()
        assert self._process.wait(30) == 0

    def _tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Routers:
    def __init__(self, port: int) -> None:
        self._port = port
        self.all: list[Router] = []

    def start(self, count: int = 1, graph: str = "digits") -> list[Router]:
        """Start some at once; they listen when it returns."""
        started = [Router(graph, self._port) for _ in range(count)]
        self.all += started
        for one in started:
            one.until_it_says("listens")
        return started


@pytest.fixture
def routers(folder: Path, port: int) -> Iterator[Routers]:
    found = Routers(port)
    yield found
    for one in found.all:
        one.close()


class Load:
    """Clients that open a connection for each request; ``outcomes`` counts answers and errors."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.turns = [0] * CLIENTS
        """Requests of each client that are over."""
        self.threads = [threading.Thread(target=self._run, args=(one,)) for one in range(CLIENTS)]

    @property
    def failures(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "answered"}

    def stop(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join()

    def more(self, count: int = 50) -> None:
        """Return when so many more were answered."""
        start = self.outcomes["answered"]
        until(lambda: self.outcomes["answered"] >= start + count)

    def all_again(self) -> None:
        """Return when each client has begun a request after this call, and ended it."""
        before = tuple(self.turns)
        until(lambda: all(now >= old + 2 for now, old in zip(self.turns, before, strict=True)))

    def _run(self, client: int) -> None:
        while not self._over.is_set():
            try:
                ask(self._port)
                outcome = "answered"
            except (AssertionError, OSError) as error:
                outcome = f"{type(error).__name__}: {error}"
            with self._lock:
                self.outcomes[outcome] += 1
            self.turns[client] += 1


@contextmanager
def load(port: int) -> Iterator[Load]:
    running = Load(port)
    for thread in running.threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_no_connection_is_lost_while_routers_are_replaced(
    routers: Routers, port: int, times: int
) -> None:
    before = routers.start(2)
    with load(port) as clients:
        for _ in range(times):
            clients.more()
            after = routers.start(2)
            for one in before:
                one.end(clients)
            before = after
        clients.more()
        before.pop().end(clients)
        clients.more()
    assert clients.failures == {}
    assert ask(port) == before[0].pid


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.nightly)])
def test_routers_that_are_killed_take_what_they_were_answering_and_no_more(
    routers: Routers, port: int, times: int
) -> None:
    routers.start(2)
    with load(port) as clients:
        for killed in range(times):
            clients.more()
            routers.all[killed].kill()
            clients.more()
            routers.start()
    assert not [outcome for outcome in clients.failures if "Refused" in outcome]
    assert sum(clients.failures.values()) <= times * CLIENTS


def test_any_router_hands_on_whichever_were_killed(routers: Routers, port: int) -> None:
    first, second = routers.start()[0], routers.start()[0]
    second.kill()
    third = routers.start()[0]
    first.kill()
    assert {ask(port) for _ in range(20)} == {third.pid}


def test_all_killed_at_once_leave_nothing_in_the_way(
    routers: Routers, port: int, folder: Path
) -> None:
    for one in routers.start(2):
        one.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    (after,) = routers.start()
    assert ask(port) == after.pid
    assert len(list(folder.iterdir())) == 1


def test_routers_that_start_at_once_all_get_the_port(routers: Routers, port: int) -> None:
    started = routers.start(4)
    last = started.pop()
    for one in started:
        one.kill()
    assert ask(port) == last.pid


def on_loop(port: int, graph: str = "digits") -> Any:
    """The lean server of this process and its part in the port, which is open."""

    async def answer(request: HttpRequest) -> Any:
        return json_reply(os.getpid())

    async def opened() -> tuple[LeanServer, OwnPort]:
        http = LeanServer(HttpApp(answer))
        return http, await OwnPort.open(graph, HOST, port, http)

    return opened()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_last_router_answers_all_that_wait(
    run: Callable[[Any], object], folder: Path, port: int
) -> None:
    async def main() -> None:
        http, own = await on_loop(port)
        # The loop does not run meanwhile: all of them wait to be accepted.
        waiting = [socket.create_connection((HOST, port), timeout=30) for _ in range(20)]
        await own.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=30)
        for client in waiting:
            client.sendall(REQUEST)
        found = [await asyncio.to_thread(answered, client) for client in waiting]
        assert found == [os.getpid()] * 20
        for client in waiting:
            client.close()
        await http.close(10)

    run(main())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_router_that_ends_hands_over_to_those_that_have_asked(
    run: Callable[[Any], object], folder: Path, port: int
) -> None:
    def only() -> Path:
        (path,) = folder.glob("port-*.sock")
        return path

    async def main() -> None:
        http, own = await on_loop(port)
        path = only()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            await own.close()
            assert not path.exists()
            _, (found,), _, _ = socket.recv_fds(asking, 1, 1)
        with socket.socket(fileno=found), socket.create_connection((HOST, port), timeout=30):
            pass
        await http.close(10)

    run(main())


def test_what_is_handed_over_never_blocks_and_is_not_inherited(folder: Path, port: int) -> None:
    async def main() -> None:
        http, own = await on_loop(port)
        with await asyncio.to_thread(obtain, "digits", HOST, port) as handed:
            assert handed.getsockname() == (HOST, port)
            assert not handed.get_inheritable()
            with handed.dup() as other:
                # A flag of the socket, not of the number: set by one, it holds for all routers.
                assert fcntl.fcntl(other, fcntl.F_GETFL) & os.O_NONBLOCK
        await own.close()
        await http.close(10)

    uvloop.run(main())


def test_a_port_is_handed_to_no_other_graph_and_not_for_another_port(
    folder: Path, port: int
) -> None:
    (other,) = free_ports(1)

    async def main() -> None:
        http, own = await on_loop(port)
        with pytest.raises(EngineError, match=f"cannot listen on port {port} of {HOST}"):
            await asyncio.to_thread(obtain, "other", HOST, port, 0)
        with await asyncio.to_thread(obtain, "digits", HOST, other) as found:
            assert found.getsockname() == (HOST, other)
        await own.close()
        await http.close(10)

    uvloop.run(main())


@pytest.mark.parametrize("shares", [False, True])
def test_a_port_that_a_stranger_has_is_named(folder: Path, port: int, shares: bool) -> None:
    with (
        socket.create_server((HOST, port), reuse_port=shares),
        pytest.raises(EngineError, match=rf"^spec\.serving\.port: .* {port} of .*already in use"),
    ):
        obtain("digits", HOST, port, 0)


def test_a_port_is_waited_for(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()
    monkeypatch.setattr(own_port.time, "sleep", lambda seconds: tried.set())
    with socket.create_server((HOST, port)) as stranger:
        found: list[socket.socket] = []
        thread = threading.Thread(target=lambda: found.append(obtain("digits", HOST, port)))
        thread.start()
        assert tried.wait(30)
        assert not found
        stranger.close()
        thread.join(30)
    with found[0]:
        assert found[0].getsockname() == (HOST, port)


def test_who_does_not_hand_over_is_passed_by(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_port, "_ANSWER_S", 0.05)
    prefix = own_port._prefix("digits", port)
    (folder / f"{prefix}0.sock").touch()
    with (
        sockets.unix_listener(folder / f"{prefix}1.sock") as silent,
        obtain("digits", HOST, port, 0) as found,
    ):
        assert silent.fileno() != found.fileno()
        assert found.getsockname() == (HOST, port)


def test_on_other_machines_routers_share_the_port_each_with_a_queue(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(sockets.FOLDER, raising=False)
    with obtain("digits", HOST, port, 0) as one, obtain("digits", HOST, port, 0) as other:
        assert one.getsockname() == other.getsockname() == (HOST, port)
    with (
        socket.create_server((HOST, port)),
        pytest.raises(EngineError, match="already in use"),
    ):
        obtain("digits", HOST, port, 0)


def test_the_host_is_the_engine_s_on_its_machine_and_the_node_s_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(own_port.HOST, "0.0.0.0")
    assert own_host("10.0.0.7") == "0.0.0.0"
    monkeypatch.delenv(own_port.HOST)
    assert own_host("10.0.0.7") == "127.0.0.1"
    monkeypatch.delenv(sockets.FOLDER)
    assert own_host("10.0.0.7") == "10.0.0.7"


def test_a_path_is_short_whatever_the_graph_is_called() -> None:
    longest = f"{own_port._prefix('g' * 63, 65_535)}{'f' * 8}.sock"
    assert len(longest) <= 40


def test_it_stays_closed_beside_tls(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for variable in ("", "/cert.pem"):
        monkeypatch.setenv(own_port.TLS, variable)
        assert opened_port("demo", None) is None
        assert caplog.messages == []
        assert opened_port("demo", 7000) == (None if variable else 7000)
    assert "port 7000 of graph demo stays closed" in caplog.messages[0]
