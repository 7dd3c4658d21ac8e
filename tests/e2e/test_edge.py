"""Whoever stands between client and router dies, over and over, and routers come and go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.holding import held
from tests.e2e.conftest import MOST_REQUESTS, Given, Load, node, spec, value
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""
WHERE = """
import os


class Where:
    def transform(self, x):
        return x * 0 + os.getpid()
"""
CLIENTS = 8
ROUTERS = 2
TIMES = [1, pytest.param(20, marks=pytest.mark.nightly)]
"""How often a process is killed: once by day."""
ENDLESS = {"seconds": 1200.0, "most": 10**9}
"""A load that goes on until the last of them has a successor."""


def scaled(graph: dict[str, Any], replicas: int = ROUTERS) -> dict[str, Any]:
    graph["spec"]["scaling"] = {"replicas": replicas}
    return graph


@pytest.fixture(scope="module")
def again(given_once: Given) -> str:
    """A graph of two routers whose requests may be evaluated again."""
    graph = scaled(spec("again", double=node("Double", idempotent=True)))
    return given_once.deployed(graph, CODE)


@pytest.fixture(scope="module")
def once(given_once: Given) -> str:
    """A graph of two routers whose requests may not."""
    return given_once.deployed(scaled(spec("once", double=node("Double"))), CODE)


def proxies(engine: Engine) -> list[psutil.Process]:
    assert engine.state is not None
    return [one for one in engine.processes(engine.state) if is_haproxy(one)]


def is_haproxy(process: psutil.Process) -> bool:
    try:
        return process.name() == "haproxy"
    except psutil.NoSuchProcess:  # a replica of another test's graph ends just now
        return False


def actors(engine: Engine, name: str) -> list[psutil.Process]:
    found = actor_processes(engine, name)
    assert found
    return found


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def replaced(find: Callable[[], list[psutil.Process]], before: list[psutil.Process]) -> bool:
    """Whether there are as many as before, and the first of those is not among them."""
    now = {process.pid for process in find()}
    return before[0].pid not in now and len(now) == len(before)


@pytest.mark.parametrize("times", TIMES)
def test_haproxy_dies_and_who_asks_at_once_waits_for_the_next(
    engine: Engine, again: str, load: Callable[..., Any], times: int
) -> None:
    with load(again, clients=CLIENTS, **ENDLESS) as running:
        for _ in range(times):
            before = proxies(engine)
            failed = sum(running.failures.values())
            kill(before[0])
            before[0].wait(60)  # a connection that it takes while it dies is lost
            # Asked on a new connection, at once: it waits, and is not refused.
            assert engine.infer(again).status_code == 200
            assert [one.pid for one in proxies(engine)] != [one.pid for one in before]
            running.until_asked(200)
            assert sum(running.failures.values()) - failed <= CLIENTS
    assert not any(outcome.isdigit() for outcome in running.failures)
    assert running.failed_again == 0


@pytest.mark.parametrize("times", TIMES)
def test_the_edge_s_actor_dies_and_no_request_fails(
    engine: Engine, given: Given, again: str, load: Callable[..., Any], times: int
) -> None:
    with load(again, clients=CLIENTS, **ENDLESS) as running:
        for number in range(times):
            before = actors(engine, "Edge")
            kill(before[0])
            running.until_asked(200)
            running.until(
                lambda dead=before: replaced(lambda: actor_processes(engine, "Edge"), dead)
            )
            name = given.deployed(spec(f"after-edge-{number % 2}", double=node("Double")), CODE)
            assert value(engine.infer(name)) == [2, 4]
    assert running.failures == {}
    assert len(proxies(engine)) == 1


@pytest.mark.parametrize("times", TIMES)
def test_the_gateway_dies_and_graphs_do_not_notice(
    engine: Engine, again: str, load: Callable[..., Any], times: int
) -> None:
    with load(again, clients=CLIENTS, **ENDLESS) as running:
        for _ in range(times):
            before = actors(engine, "ServeReplica:anabranch.gateway")
            kill(before[0])
            running.until_asked(200)
            running.until(lambda: is_live(engine))
    assert running.failures == {}


def is_live(engine: Engine) -> bool:
    try:
        return httpx.get(f"{engine.url}/v2/health/live", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("times", TIMES)
def test_a_router_dies_and_no_request_is_lost_that_may_be_evaluated_again(
    engine: Engine, again: str, load: Callable[..., Any], times: int
) -> None:
    with load(again, clients=CLIENTS, **ENDLESS) as running:
        kill_routers(engine, again, running, times)
    assert running.failures == {}


@pytest.mark.nightly
@pytest.mark.parametrize("times", [1, 20])
def test_a_router_dies_and_only_what_it_had_is_lost(
    engine: Engine, once: str, load: Callable[..., Any], times: int
) -> None:
    with load(once, clients=CLIENTS, **ENDLESS) as running:
        kill_routers(engine, once, running, times)
    assert sum(running.failures.values()) <= times * CLIENTS


def routers(engine: Engine, name: str) -> list[psutil.Process]:
    """All of them, once they are there."""
    return until(lambda: there if len(there := actor_processes(engine, name)) == ROUTERS else None)


def kill_routers(engine: Engine, graph: str, running: Load, times: int) -> None:
    name = f"ServeReplica:{graph}:router"
    for _ in range(times):
        before = routers(engine, name)
        kill(before[0])
        running.until_asked(200)
        running.until(lambda dead=before: replaced(lambda: actor_processes(engine, name), dead))
        # A router is a process some time before it has told its address.
        running.until_asked(200)


@pytest.mark.nightly
def test_routers_come_and_go_while_the_controller_does_not_answer(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(scaled(spec("orphans", where=node("Where", idempotent=True))), WHERE)
    actor = f"ServeReplica:{name}:router"
    with load(name, clients=CLIENTS) as running:
        old, other = routers(engine, actor)
        with held(actors(engine, "Controller")[0].pid):
            kill(old)
            running.until(lambda: replaced(lambda: actor_processes(engine, actor), [old, other]))
            running.until_asked(200)
        (new,) = [one for one in routers(engine, actor) if one.pid != other.pid]
        running.until(lambda: any(f"[{new.pid}.0" in answer for answer in running.answers))
        kill(other)
        running.until_asked(200)
    assert running.failures == {}


def test_nothing_is_lost_while_routers_come_and_go(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    second = scaled(spec("rolls", double=node("Double")))
    first = scaled(spec("rolls", double=node("Double")), 1)
    haproxy = proxies(engine)
    name = given.deployed(first, CODE)
    with load(name, clients=CLIENTS) as running:
        for graph in (second, first):
            assert given.deploy(graph, CODE).returncode == 0
            running.until_asked(500)
    assert running.failures == {}
    assert running.total > 1000
    assert proxies(engine) == haproxy, "it was loaded anew"


@contextmanager
def faltering(process: psutil.Process) -> Iterator[None]:
    """Have a process do nothing for two seconds, something for a moment, and so on."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            with held(process.pid):
                done.wait(2.0)
            done.wait(0.2)

    thread = threading.Thread(target=run, name="faltering")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.nightly
def test_an_edge_that_is_late_sends_nothing_to_a_router_that_has_gone(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(spec("late-edge", double=node("Double")), CODE)
    (edge,) = actors(engine, "Edge")
    with load(name, clients=CLIENTS) as running, faltering(edge):
        for number in (2, 3, 4):
            given.deployed(spec(name, double=node("Double")), f"{CODE}# {number}")
            given.settled(name, number)
            running.until_asked(200)
    assert running.failures == {}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep all processors busy."""
    with ExitStack() as stack:
        for _ in range(processes):
            one = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(one.kill)
        yield


@pytest.mark.nightly
def test_revisions_that_follow_each_other_on_a_busy_machine_lose_nothing(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    """Serve is told of the next router while it has not noticed that the last one answers."""
    name = given.deployed(spec("quick-steps", double=node("Double")), CODE)
    with load(name, clients=CLIENTS, **ENDLESS) as running, busy(6):
        for number in range(2, 12):
            isolated = {"placement": {"isolate": True}} if number % 2 else {}
            given.deployed(spec(name, double=node("Double", **isolated)), f"{CODE}# {number}")
            running.until_asked(200)
    assert running.failures == {}
    given.settled(name, 11)


@pytest.mark.nightly
def test_of_fifty_thousand_requests_none_fails_whatever_changes(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    """Canaries, weights, promotions, more routers and fewer, over and over, by one HAProxy."""
    haproxy = proxies(engine)
    name = given.deployed(spec("marathon", double=node("Double")), CODE)
    with load(name, clients=CLIENTS, seconds=1200) as running:
        number = 1
        while running.total < MOST_REQUESTS:
            number += 1
            graph = scaled(spec(name, double=node("Double")), 1 + number % 3)
            given.beside(graph, f"{CODE}# {number}", "--canary", "20")
            running.until_asked(500)
            engine.traffic(name, weights={number - 1: 30, number: 70})
            running.until_asked(500)
            promoted = engine.api("POST", f"/graphs/{name}/promote", json={"revision": number})
            assert promoted.status_code == 200, promoted.text
            given.settled(name, number)
            running.until_asked(500)
    assert running.failures == {}
    assert running.total >= MOST_REQUESTS and number > 5
    assert proxies(engine) == haproxy, "it was loaded anew"


def test_a_deleted_graph_is_the_gateway_s_and_one_that_is_deployed_is_not(
    engine: Engine, given: Given
) -> None:
    name = given.deployed(spec("comes-and-goes", double=node("Double")), CODE)
    with httpx.Client(base_url=engine.url, timeout=60) as client:
        url = f"/v2/models/{name}"
        assert client.get(f"{url}/ready").json() == {"name": name, "ready": True}
        with engine.control() as control:
            control.delete(name)
        until(lambda: client.get(url).status_code == 404)
        assert given.deploy(spec(name, double=node("Double")), CODE).returncode == 0
        assert client.get(url).json()["versions"] == ["2"]


SMUGGLED = b"GET /v2/models/again/ready HTTP/1.1\r\nhost: x\r\n\r\n"
HIDDEN = [
    (f"content-length: {len(SMUGGLED)}", "transfer-encoding: chunked"),
    ("content-length: 5", f"content-length: {len(SMUGGLED)}"),
    ("transfer-encoding: chunked, identity",),
    ("transfer-encoding: xchunked",),
    ("transfer-encoding : chunked",),
    ("content-length: +5",),
    ("content-length: 0x5",),
    ("content-length: 5, 7",),
]


@pytest.mark.parametrize("lines", HIDDEN, ids=lambda lines: " | ".join(lines))
def test_edge_and_router_agree_where_a_message_ends(
    engine: Engine, again: str, lines: tuple[str, ...]
) -> None:
    head = [f"POST /v2/models/{again}/infer HTTP/1.1", "host: x", *lines, "", ""]
    message = "\r\n".join(head).encode() + b"0\r\n\r\n" + SMUGGLED
    with socket.create_connection(("127.0.0.1", engine.ports.http), timeout=30) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses and b"200" not in statuses[:1]
    # The rest is at most a second request, which its sender alone sees the answer of.
    assert len(statuses) <= 2
    with httpx.Client(timeout=30) as other:
        for _ in range(20):
            found = other.post(f"{engine.graph_url(again)}/infer", json={"inputs": []})
            assert found.status_code == 400 and "missing input" in found.json()["error"]
