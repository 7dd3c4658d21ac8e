"""A graph's own port: its routers answer there by themselves, and come and go unnoticed."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, HTTP, Engine, actor_processes
from tests.ports import free_ports
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Times:
    def __init__(self, by=2.0):
        self.by = by

    def transform(self, x):
        return (x * self.by).astype("float32")
"""
CLIENTS = 4
ROUTERS = 2


def graph(name: str, port: int | None, by: float = 2.0, replicas: int = ROUTERS) -> dict[str, Any]:
    found = spec(name, times=node("Times", args={"by": by}, idempotent=True))
    found["spec"]["scaling"] = {"replicas": replicas}
    if port is not None:
        found["spec"]["serving"] = {"port": port}
    return found


def ask(name: str, port: int) -> httpx.Response:
    """Ask at a graph's own port, on a new connection."""
    url = f"http://127.0.0.1:{port}/v2/models/{name}/infer"
    return httpx.post(url, json=BODY, timeout=60, trust_env=False)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Load:
    """Clients that open a connection for each request; ``outcomes`` counts statuses and errors."""

    def __init__(self, name: str, port: int) -> None:
        self._name, self._port = name, port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    @property
    def failures(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}

    def stop(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join()

    def until_answered(self, count: int) -> None:
        """Keep asking until ``count`` more requests were answered."""
        start = self.outcomes["200"]
        until(lambda: self.outcomes["200"] >= start + count)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                outcome = str(ask(self._name, self._port).status_code)
            except httpx.HTTPError as error:
                outcome = f"{type(error).__name__}: {error}"
            with self._lock:
                self.outcomes[outcome] += 1


@contextmanager
def load(name: str, port: int) -> Iterator[Load]:
    running = Load(name, port)
    for thread in running.threads:
        thread.start()
    try:
        running.until_answered(CLIENTS)
        yield running
    finally:
        running.stop()


def routers(engine: Engine, name: str) -> list[int]:
    return [one.pid for one in actor_processes(engine, f"ServeReplica:{name}:router")]


def test_a_graph_answers_at_its_own_port_and_through_the_edge(engine: Engine, given: Given) -> None:
    (port,) = free_ports(1)
    name = given.deployed(graph("own-port", port), CODE)
    assert value(ask(name, port)) == value(engine.infer(name)) == [2, 4]
    base = f"http://127.0.0.1:{port}/v2/models"
    assert HTTP.get(f"{base}/{name}/ready").json() == {"name": name, "ready": True}
    other = HTTP.get(f"{base}/other/ready")
    assert other.status_code == 404
    assert "error" in other.json()

    with engine.control() as control:
        control.delete(name)
    until(lambda: not listens(port))


@pytest.mark.nightly
@pytest.mark.parametrize("counts", [[1], [ROUTERS, 1]], ids=str)
def test_no_new_connection_fails_while_routers_are_replaced(
    engine: Engine, given: Given, counts: list[int]
) -> None:
    (port,) = free_ports(1)
    name = given.deployed(graph("own-rolls", port), CODE)
    with load(name, port) as running:
        for by, replicas in enumerate(counts, 3):
            assert given.deploy(graph(name, port, by, replicas), CODE).returncode == 0
            running.until_answered(100)
    assert running.failures == {}
    assert value(ask(name, port)) == [len(counts) + 2, 2 * len(counts) + 4]


@pytest.mark.nightly
def test_a_router_that_is_killed_leaves_the_port_to_the_other(engine: Engine, given: Given) -> None:
    (port,) = free_ports(1)
    name = given.deployed(graph("own-dies", port), CODE)
    until(lambda: len(routers(engine, name)) == ROUTERS)
    with load(name, port) as running:
        killed = routers(engine, name)[0]
        os.kill(killed, signal.SIGKILL)
        running.until_answered(100)
        until(lambda: killed not in (now := routers(engine, name)) and len(now) == ROUTERS)
        running.until_answered(100)
    assert sum(running.failures.values()) <= CLIENTS
    assert not [outcome for outcome in running.failures if "refused" in outcome.lower()]


@pytest.mark.nightly
def test_a_new_revision_changes_the_port_or_drops_it(engine: Engine, given: Given) -> None:
    first, second = free_ports(2)
    name = given.deployed(graph("own-moves", first), CODE)
    for revision, (before, after) in enumerate([(first, second), (second, None)], 2):
        assert listens(before)
        assert given.deploy(graph(name, after), CODE).returncode == 0
        given.settled(name, revision)
        until(lambda port=before: not listens(port))
        assert after is None or value(ask(name, after)) == [2, 4]
        assert value(engine.infer(name)) == [2, 4]


@pytest.mark.parametrize(
    "askers", [["own-first"], pytest.param(["own-second", "own-first"], marks=pytest.mark.nightly)]
)
def test_a_port_that_is_taken_is_refused_by_name(
    engine: Engine, given: Given, askers: list[str]
) -> None:
    (port,) = free_ports(1)
    name = given.deployed(graph("own-first", port), CODE)
    done = given.deploy(graph("own-second", port), CODE)
    assert done.returncode == 1
    assert f"{port} is the port of graph '{name}' (revision 1)" in done.stderr
    done = given.deploy(graph("own-second", engine.ports.grpc), CODE)
    assert done.returncode == 1
    assert "is the --grpc-port of the engine" in done.stderr

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        for graph_name in askers:
            done = given.deploy(graph(graph_name, taken), CODE)
            assert done.returncode == 1
            assert f"cannot listen on port {taken}" in done.stderr
            assert "Traceback" not in done.stderr
    assert value(ask(name, port)) == [2, 4]
