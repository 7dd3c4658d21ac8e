"""Replicas come and go with the load, and a graph that nobody asks sleeps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Given, error, node, spec, value
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import asyncio
import os
import time

import numpy as np


class Add:
    def transform(self, x):
        return x + 1


class Gated:
    def __init__(self, gate: str) -> None:
        self.gate = gate

    def load(self):
        while not os.path.exists(self.gate):
            time.sleep(0.01)

    def transform(self, x):
        return x + 1


class Busy:
    async def transform(self, x):
        await asyncio.sleep(0.1)
        return x + 1


class Calls:
    def __init__(self, fails=False):
        self.calls, self.fails = 0, fails

    def transform(self, x):
        if self.fails:
            raise ValueError("it cannot")
        self.calls += 1
        return np.full_like(x, self.calls)
"""
SLEEPY = {"min": 0, "max": 1, "downscale_delay": "500ms"}


def sleeps(engine: Engine, name: str) -> bool:
    routers = actor_processes(engine, f"ServeReplica:{name}:router")
    return engine.graph(name)["state"] == "asleep" and not routers


def answers(engine: Engine, name: str) -> bool:
    """Whether a graph answers; a connection to what was just killed may end without a word."""
    with suppress(httpx.TransportError):
        return engine.infer(name).status_code == 200
    return False


def is_killed(engine: Engine, name: str) -> bool:
    """Kill the router of a graph; False where it has fallen asleep meanwhile."""
    with suppress(psutil.NoSuchProcess, ValueError):
        (router,) = actor_processes(engine, f"ServeReplica:{name}:router")
        router.kill()
        return True
    return False


def ask_at_once(engine: Engine, name: str, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(lambda _: engine.infer(name), range(count)))


def sleepy(name: str, add: dict[str, Any] | None = None, **scaling: Any) -> dict[str, Any]:
    found = spec(name, add=add or node("Add"))
    found["spec"]["scaling"] = SLEEPY | scaling
    return found


def test_fifty_requests_to_a_sleeping_graph_are_all_answered(engine: Engine, given: Given) -> None:
    name = given.deployed(sleepy("sleepy"), CODE)
    until(lambda: sleeps(engine, name))
    assert httpx.get(f"{engine.url}/v2/health/ready", timeout=20).status_code == 200
    index = httpx.post(f"{engine.url}/v2/repository/index", timeout=20).json()
    assert {"name": name, "version": "1", "state": "READY", "reason": ""} in index

    replies = ask_at_once(engine, name, 50)
    assert [value(reply) for reply in replies] == [[2, 3]] * 50

    # A replica that is killed is no reason to fail for long either.
    until(lambda: answers(engine, name) and is_killed(engine, name))
    until(lambda: answers(engine, name))


def test_more_than_may_wait_are_refused_at_once(engine: Engine, given: Given) -> None:
    """The replica for which the others wait is ready once these have been refused."""
    gate = given.folder / "gate"
    gate.touch()  # for its first replica, which deploying starts
    narrow = node("Gated", args={"gate": str(gate)})
    name = given.deployed(sleepy("narrow", narrow, max_queue=4), CODE)
    until(lambda: sleeps(engine, name))
    gate.unlink()
    with ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(engine.infer, name) for _ in range(20)]
        try:
            until(lambda: sum(one.done() for one in asked) >= 16)
            refused = [one.result() for one in asked if one.done()]
        finally:
            gate.touch()
        served = [reply for reply in (one.result() for one in asked) if reply not in refused]
    assert [reply.status_code for reply in refused] == [503] * len(refused)
    assert [reply.status_code for reply in served] == [200] * len(served) and served
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert all("no replica" in reply.json()["error"] for reply in refused)


def test_a_segment_sleeps_and_wakes_behind_its_router(engine: Engine, given: Given) -> None:
    graph = spec("half-asleep", add=node("Add", scaling=SLEEPY), more=node("Add", "add"))
    name = given.deployed(graph, CODE)
    until(lambda: not actor_processes(engine, f"ServeReplica:{name}.r1:add"))
    assert engine.graph(name)["state"] == "live"
    replies = ask_at_once(engine, name, 50)
    assert [value(reply) for reply in replies] == [[3, 4]] * 50


TIDAL = {
    "min": 1, "max": 3, "target_ongoing": 2, "upscale_delay": "0s", "downscale_delay": "1s"
}  # fmt: skip


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("of", "app", "asked"),
    [
        ("segment", ".r1:busy", ""),
        ("router", ":router", ""),
        ("head", ".r2.head:", "/versions/2"),  # of a candidate
    ],
)
def test_replicas_follow_the_load(
    engine: Engine, given: Given, load: Callable[..., Any], of: str, app: str, asked: str
) -> None:
    """They come while many ask, and go while somebody asks: who does so does not notice."""
    graph = spec(f"tidal-{of}", busy=node("Busy"))
    scaled = graph["spec"]["nodes"]["busy"] if of == "segment" else graph["spec"]
    scaled["scaling"] = TIDAL
    name = given.deployed(graph, CODE)
    if of == "head":
        given.beside(graph, CODE, "--canary", "20")

    def running() -> int:
        return len(actor_processes(engine, f"ServeReplica:{name}{app}"))

    assert running() == 1
    with load(name + asked, clients=8) as many:
        many.until(lambda: running() == 3)
    with load(name + asked, clients=1) as one:
        one.until(lambda: running() == 1)
    assert (many.failures, one.failures) == ({}, {})
    assert value(engine.infer(name)) == [2, 3]


def test_a_router_is_warm_before_it_is_ready(engine: Engine, given: Given) -> None:
    graph = spec("warm", calls=node("Calls"))
    graph["spec"]["warmup"] = {"requests": 7, "rows": 2}
    name = given.deployed(graph, CODE)
    assert value(engine.infer(name)) == [8, 8]

    graph["spec"]["nodes"]["calls"]["args"] = {"fails": True}
    done = given.deploy(graph, CODE)
    assert done.returncode != 0
    assert "warmup: node 'calls'" in done.stderr
    assert value(engine.infer(name)) == [9, 9]
    assert "Traceback" not in done.stderr
    assert error(engine.infer("no-such-graph"), 404)
