"""A component that hangs on the event loop costs its process, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch.serve.heartbeat import PulseFile
from anabranch.serve.sockets import SOCKETS
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = '''
import time


class Sleeps:
    """Fast, until it gets a negative number; then it sleeps for ever."""

    max_concurrency = 4

    def transform(self, x):
        if (x < 0).any():
            time.sleep(3600)
        return x
'''
LOST = (0, 502, 503)
"""What comes of a request whose process ends, where no other one may answer it."""
BAD: dict[str, Any] = {"inputs": [{**BODY["inputs"][0], "data": [-1.0, 2.0]}]}


def pids(engine: Engine, name: str) -> set[int]:
    """The processes in which the component may be, whatever its place."""
    names = f"ServeReplica:{name}:", f"ServeReplica:{name}.r1:"
    return {one.pid for one in actor_processes(engine, *names)}


def status(engine: Engine, name: str, body: Any = BODY) -> int:
    """The status of a request's answer; 0 where the connection broke."""
    try:
        return engine.infer(name, body).status_code
    except httpx.RemoteProtocolError:
        return 0


def hung(engine: Engine, name: str) -> list[str]:
    """The nodes that have hung, by the log of events."""
    reply = engine.api("GET", "/events", params={"graph": name})
    events = reply.json()["events"]
    return [one["data"]["node"] for one in events if one["kind"] == "node_hung"]


@pytest.mark.parametrize(
    "place", ["here", pytest.param("away", marks=pytest.mark.nightly)]
)  # fmt: skip
def test_it_is_found_its_process_replaced_and_the_node_called_in_threads(
    engine: Engine, given: Given, place: str
) -> None:
    more: dict[str, Any] = {"placement": {"isolate": True}} if place == "away" else {}
    graph = spec(f"hangs-{place}", sleeps=node("Sleeps", **more))
    graph["spec"]["timeout"] = "60s"
    name = given.deployed(graph, CODE)
    for _ in range(200):  # fast enough for the event loop
        assert value(engine.infer(name)) == [1, 2]
    before = pids(engine, name)

    assert status(engine, name, BAD) in LOST

    until(lambda: status(engine, name) == 200)
    until(lambda: hung(engine, name) == ["sleeps"])
    after = pids(engine, name)
    assert before != after
    for _ in range(20):
        assert value(engine.infer(name)) == [1, 2]
    short = {**BAD, "parameters": {"timeout": 500_000}}
    assert engine.infer(name, short).status_code == 504
    assert value(engine.infer(name)) == [1, 2]
    assert pids(engine, name) == after


@pytest.mark.nightly
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("place", ["router", "segment"])
def test_a_process_that_is_stopped_is_ended_and_replaced(
    engine: Engine, given: Given, place: str, replicas: int
) -> None:
    """Requests that it has taken are answered by another one, for the graph is idempotent; only
    where there is no other they may fail.
    """
    more: dict[str, Any] = {"idempotent": True}
    if place == "segment":
        more |= {"retries": 2, "scaling": {"replicas": replicas}}
    graph = spec(f"stops-{place}-{replicas}", sleeps=node("Sleeps", **more))
    if place == "router":
        graph["spec"]["scaling"] = {"replicas": replicas}
    name = given.deployed(graph, CODE)
    target = f"ServeReplica:{name}:" if place == "router" else f"ServeReplica:{name}.r1:sleeps"
    until(lambda: len(actor_processes(engine, target)) == replicas)
    stopped = actor_processes(engine, target)[0]
    stopped.suspend()
    found = {status(engine, name) for _ in range(4)}
    assert found <= ({200, *LOST} if replicas == 1 else {200})
    until(lambda: not stopped.is_running())
    until(lambda: len(actor_processes(engine, target)) == replicas)
    until(lambda: status(engine, name) == 200)


LOCKS = '''
import ctypes


class Locks:
    """Keeps Python's lock for an hour if it gets a negative number."""

    max_concurrency = 4

    def load(self):
        ctypes.PyDLL(None).sleep(6)

    def transform(self, x):
        if (x < 0).any():
            ctypes.PyDLL(None).sleep(3600)
        return x
'''


@pytest.mark.nightly
def test_a_component_that_keeps_pythons_lock_costs_its_process_and_may_load_for_long(
    engine: Engine, given: Given
) -> None:
    """The client hears of its deadline before that: the edge knows the graph's time."""
    graph = spec("locks", locks=node("Locks"))
    graph["spec"]["timeout"] = "1s"
    name = given.deployed(graph, LOCKS)
    before = pids(engine, name)
    reply = engine.infer(name, BAD)
    assert (reply.status_code, reply.json()) == (
        504,
        {"error": "the replica did not answer in time"},
    )
    until(lambda: status(engine, name) == 200)
    until(lambda: hung(engine, name) == ["locks"])
    assert not before & pids(engine, name)
    log = (engine.home / "logs" / "supervisor.log").read_text()
    assert f"graph '{name}'" in log and "in transform" in log


WATCHED = """
class Double:
    def transform(self, x):
        return x * 2


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        return {}
"""


def test_each_process_that_answers_has_a_heartbeat(engine: Engine, given: Given) -> None:
    why = {"type": "explainer", "component": "components.py:Why", "explains": "double"}
    graph = spec("beats", why=why, away=node("Double", placement={"isolate": True}),
                 double=node("Double", "away"))  # fmt: skip
    graph["spec"]["monitors"] = {"inputs": {"method": "sketch"}}
    name = given.deployed(graph, WATCHED)
    assert engine.state is not None
    beating = {pulse.pid for pulse in PulseFile.all_in(Path(engine.state.runtime) / SOCKETS)}
    parts = [f"ServeReplica:{name}.r1:{part}" for part in ("away", "why", "monitors")]
    engines = ["ServeReplica:anabranch.gateway", "ServeReplica:anabranch.grpc"]
    for title in [f"ServeReplica:{name}:", *parts, *engines, "Edge", "Controller"]:
        found = {one.pid for one in actor_processes(engine, title)}
        assert found and found <= beating, title
