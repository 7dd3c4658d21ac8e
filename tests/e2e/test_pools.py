"""Graphs that share a process: apart from each other in all but their end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, HTTP, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
from helper import FACTOR

class Scale:
    def transform(self, x):
        from late import SHIFT
        return x * FACTOR + SHIFT
"""
BROKEN = f"raise RuntimeError('no such luck')\n{CODE}"
GATED = """
import asyncio
import os

class Gated:
    def __init__(self, gate):
        self.gate = gate

    async def transform(self, x):
        while not os.path.exists(self.gate):
            await asyncio.sleep(0.05)
        return x
"""
MANY = 300
"""More requests than a router lets in at a time."""
ONE, OTHER = [12, 14], [23, 26]
"""What the two graphs make of 1 and 2."""


def pooled(name: str, pool: str = "small") -> dict[str, Any]:
    graph = spec(name, scale=node("Scale"))
    graph["spec"]["serving"] = {"pool": pool}
    return graph


def files(factor: int, shift: int) -> dict[str, str]:
    return {"helper.py": f"FACTOR = {factor}", "late.py": f"SHIFT = {shift}"}


@pytest.fixture(scope="module")
def pair(given_once: Given) -> tuple[str, str]:
    """Two graphs of one pool, with different code under equal names."""
    one = given_once.deployed(pooled("pool-one"), CODE, files(2, 10))
    return one, given_once.deployed(pooled("pool-other"), CODE, files(3, 20))


def pools(engine: Engine) -> list[int]:
    return [one.pid for one in actor_processes(engine, "ServeReplica:anabranch.pool.small")]


def answers(engine: Engine, name: str, expected: list[int]) -> bool:
    try:
        reply = engine.infer(name)
    except httpx.HTTPError:  # it was under way in the process that was killed
        return False
    return reply.status_code == 200 and value(reply) == expected


def is_known(engine: Engine, name: str) -> bool:
    """Whether the controller answers for a graph."""
    return engine.api("GET", f"/graphs/{name}").status_code == 200


def test_code_of_equal_names_stays_apart_in_one_process(
    engine: Engine, pair: tuple[str, str]
) -> None:
    assert len(pools(engine)) == 1
    assert not actor_processes(engine, *(f"ServeReplica:{name}:" for name in pair))
    for _ in range(3):
        assert value(engine.infer(pair[0])) == ONE
        assert value(engine.infer(pair[1])) == OTHER


def test_each_graph_has_its_own_metrics_status_and_logs(
    engine: Engine, pair: tuple[str, str], given: Given
) -> None:
    name = given.deployed(pooled("pool-told"), "print('hello from the pool')\n" + CODE, files(1, 0))
    assert value(engine.infer(name)) == [1, 2]
    assert engine.graph(name)["state"] == "live"
    assert engine.graph(name)["inlined"] == 1
    given.until_logged(name, "hello from the pool")
    assert "hello from the pool" not in engine.command("logs", pair[0]).stdout
    counted = f'anabranch_requests_total{{code="200",endpoint="infer",graph="{name}"'
    page = f"{engine.url}/metrics"
    until(lambda: counted in HTTP.get(page).text)


def test_a_deploy_of_one_graph_under_load_on_the_other_fails_no_request(
    engine: Engine, pair: tuple[str, str], given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(pooled("pool-changed"), CODE, files(1, 0))
    with load(pair[1]) as running, load(name) as changed:
        done = given.deploy(pooled(name), CODE.replace("* FACTOR", "* 5 * FACTOR"), files(1, 0))
        assert done.returncode == 0, done.stderr
        given.settled(name, 2)
        running.until_asked(200)
        changed.until_asked(200)
    assert running.failures == {}
    assert changed.failures == {}
    assert {one.revision for one in changed.timeline} == {"1", "2"}


def test_a_broken_graph_names_its_reason_and_disturbs_no_other(
    engine: Engine, pair: tuple[str, str], given: Given, load: Callable[..., Any]
) -> None:
    before = pools(engine)
    with load(pair[0]) as running:
        done = given.deploy(pooled("pool-broken"), BROKEN)
        assert done.returncode != 0
        assert "no such luck" in done.stderr
        assert "'scale'" in done.stderr
        running.until_asked(100)
    assert running.failures == {}
    assert pools(engine) == before


def test_a_graph_that_is_deleted_leaves_the_others(
    engine: Engine, pair: tuple[str, str], given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(pooled("pool-going"), CODE, files(1, 0))
    before = pools(engine)
    with load(pair[0]) as running:
        assert engine.command("delete", name, "--yes").returncode == 0
        until(lambda: engine.infer(name).status_code == 404)
        running.until_asked(100)
    assert running.failures == {}
    assert pools(engine) == before


def test_a_killed_pool_is_back_with_its_graphs(engine: Engine, pair: tuple[str, str]) -> None:
    (before,) = pools(engine)
    os.kill(before, signal.SIGKILL)
    until(lambda: answers(engine, pair[0], ONE) and answers(engine, pair[1], OTHER))
    until(lambda: len(pools(engine)) == 1)
    assert pools(engine) != [before]


@pytest.mark.nightly
def test_each_graph_has_its_own_traffic_and_revisions(
    engine: Engine, pair: tuple[str, str], given: Given
) -> None:
    before = pools(engine)
    name = given.deployed(pooled("pool-split"), CODE, files(1, 0))
    done = given.deploy(pooled(name), CODE, files(5, 0), ("--canary", "50"))
    assert done.returncode == 0, done.stderr
    assert {tuple(value(engine.infer(name))) for _ in range(100)} == {(1, 2), (5, 10)}
    assert [value(engine.infer(one)) for one in pair] == [ONE, OTHER]
    promoted = engine.api("POST", f"/graphs/{name}/promote", json={"revision": 2})
    assert promoted.status_code == 200, promoted.text
    given.settled(name, 2)
    assert {tuple(value(engine.infer(name))) for _ in range(20)} == {(5, 10)}
    assert [value(engine.infer(one)) for one in pair] == [ONE, OTHER]
    assert pools(engine) == before


@pytest.mark.nightly
def test_a_graph_that_is_full_leaves_the_others_their_places(
    engine: Engine, pair: tuple[str, str], given: Given
) -> None:
    gate, body = given.folder / "gate", json.dumps(BODY).encode()
    graph = spec("pool-full", gated=node("Gated", args={"gate": str(gate)}))
    graph["spec"]["serving"] = {"pool": "small"}
    name = given.deployed(graph, GATED)
    head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    message = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    at = "127.0.0.1", engine.ports.http
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(at, 60)) for _ in range(MANY)]
        for client in clients:
            client.sendall(message)
        until(lambda: select.select(clients, [], [], 0)[0])  # one of them was refused
        assert [value(engine.infer(one)) for one in pair] == [ONE, OTHER]
        gate.touch()
        lines = [client.makefile("rb").readline() for client in clients]
    assert {line.split()[1] for line in lines} == {b"200", b"503"}


@pytest.mark.nightly
def test_a_controller_that_starts_anew_leaves_the_pool_as_it_is(
    engine: Engine, pair: tuple[str, str], given: Given, load: Callable[..., Any]
) -> None:
    before = pools(engine)
    with load(pair[0]) as running:
        (controller,) = actor_processes(engine, "Controller")
        os.kill(controller.pid, signal.SIGKILL)
        until(lambda: not controller.is_running() and is_known(engine, pair[0]))
        name = given.deployed(pooled("pool-later"), CODE, files(1, 0))
        assert value(engine.infer(name)) == [1, 2]
        running.until_asked(100)
    assert running.failures == {}
    assert pools(engine) == before


@pytest.mark.nightly
def test_a_graph_moves_into_a_pool_and_out_of_it(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    own = spec("pool-moving", scale=node("Scale"))
    name = given.deployed(own, CODE, files(1, 0))
    with load(name) as running:
        given.deployed(pooled(name), CODE.replace("* FACTOR", "* 1"), files(1, 0))
        given.settled(name, 2)
        until(lambda: not actor_processes(engine, f"ServeReplica:{name}:"))
        running.until_asked(100)
        given.deployed(own, CODE.replace("* FACTOR", "* 1 * 1"), files(1, 0))
        given.settled(name, 3)
        running.until_asked(100)
    assert running.failures == {}
    assert actor_processes(engine, f"ServeReplica:{name}:")


@pytest.mark.nightly
def test_graphs_of_a_pool_are_back_after_the_engine_was_stopped(
    engine: Engine, pair: tuple[str, str]
) -> None:
    engine.down()
    engine.up()
    assert value(engine.infer(pair[0])) == ONE
    assert value(engine.infer(pair[1])) == OTHER
    assert len(pools(engine)) == 1
