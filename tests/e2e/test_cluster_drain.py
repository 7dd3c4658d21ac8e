"""A machine that somebody else drains, as clouds do before they take it back."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import node, spec
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

NOTICE_S = 1800
"""Time between the notice and the end of the machine: more than the test waits for anything."""
LONG_S = 10
"""Length of the long request, which is longer than a stopped edge gives to what is under way."""
CODE = f"""
import asyncio
import os


class Where:
    '''Answers with the number of its machine; numbers above 9 take their time.'''

    async def transform(self, x):
        if x.max() > 9:
            await asyncio.sleep({LONG_S})
        return x * 0 + {{"two": 2, "three": 3}}[os.uname().nodename]
"""
LONG = {"inputs": [{**BODY["inputs"][0], "data": [10.0, 10.0]}]}


@dataclass
class Cluster:
    """Three machines; the first has the head and no room for replicas that ask for a processor."""

    one: Machine
    two: Machine
    three: Machine

    def nodes(self) -> dict[str, Any]:
        told = done(self.one.run("anabranch", "nodes", "-o", "json"))
        return {one["name"]: one for one in json.loads(told.stdout)["nodes"]}

    def url(self, machine: Machine) -> str:
        return f"http://{machine.address}:8000/v2/models/where/infer"

    def infer(self, machine: Machine, body: Any = BODY) -> httpx.Response:
        with self.one.inside():
            return httpx.post(self.url(machine), json=body, timeout=60)

    def notice(self, machine: Machine) -> None:
        """Have Ray told that the machine goes."""
        env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{HOME}/.anabranch/ray-token"}
        state = json.loads(self.one.path(f"{HOME}/.anabranch/engine.json").read_text())
        why = "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"
        which = "--address", state["address"], "--node-id", self.nodes()[machine.name]["id"]
        left = "--deadline-remaining-seconds", NOTICE_S
        done(self.one.run("ray", "drain-node", *which, *why, *left, env=env))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        found = Cluster(*(network.machine(name) for name in ("one", "two", "three")))
        host = "--host", found.one.address, "--anonymous", "invoker", "--resources", "CPU=0"
        done(found.one.run("anabranch", "up", *host))
        for machine in (found.two, found.three):
            key = machine.path(f"{HOME}/key")
            key.touch(0o600)
            key.write_text(found.one.path(f"{HOME}/.anabranch/token").read_text())
            engine = f"{found.one.address}:8000", "--token-file", "key"
            done(machine.run("anabranch", "join", *engine, "--resources", "CPU=4"))
        yield found


@contextmanager
def asking(cluster: Cluster, *machines: Machine) -> Iterator[Counter[str]]:
    """Eight clients that ask without a pause, at these edges in turn, on connections they keep.

    An edge that refuses a connection is none that a load balancer would ask: another one is.
    """
    found: Counter[str] = Counter()
    stopping, lock = threading.Event(), threading.Lock()

    def ask(at: int) -> None:
        with cluster.one.inside(), httpx.Client(timeout=60) as client:
            while not stopping.is_set():
                machine = machines[at % len(machines)]
                try:
                    reply = client.post(cluster.url(machine), json=BODY)
                    kind = f"ok {machine.name}" if reply.status_code == 200 else reply.text[:200]
                except httpx.ConnectError:
                    kind, at = f"refused {machine.name}", at + 1
                except httpx.HTTPError as error:
                    kind = repr(error)
                with lock:
                    found[kind] += 1

    clients = [threading.Thread(target=ask, args=(at,)) for at in range(8)]
    for one in clients:
        one.start()
    try:
        yield found
    finally:
        stopping.set()
        for one in clients:
            one.join()


def test_replicas_move_and_requests_end_before_the_machine_goes(cluster: Cluster) -> None:
    """At the edge of the machine, too: it answers what it has taken, and takes nothing more.

    It does not wait for the end of the notice, which would come after the test has failed.
    """
    where = node("Where", resources={"cpu": 1}, scaling={"replicas": 2})
    graph = spec("where", where=where)
    graph["spec"]["timeout"] = "15s"
    folder = cluster.one.path(f"{HOME}/where")
    folder.mkdir()
    (folder / "components.py").write_text(CODE)
    (folder / "graph.yaml").write_text(json.dumps(graph))
    done(cluster.one.run("anabranch", "deploy", "where/graph.yaml"))
    edges = cluster.two, cluster.three
    until(lambda: all(answers(cluster, one) for one in edges), 120)
    long: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: long.append(cluster.infer(cluster.two, LONG)))
    with asking(cluster, *edges) as found:
        until(lambda: all(found[f"ok {one.name}"] > 100 for one in edges), 60)
        waiting.start()
        cluster.notice(cluster.two)
        until(lambda: found["refused two"] > 0, 60)
        waiting.join()
        until(lambda: "two" not in cluster.nodes(), 120)
        enough = found["ok three"] + 100
        until(lambda: found["ok three"] > enough, 60)
    assert found.keys() == {"ok two", "ok three", "refused two"}, found
    assert [reply.status_code for reply in long] == [200], long[0].text
    assert cluster.infer(cluster.three).json()["outputs"][0]["data"] == [3.0, 3.0]
    until(lambda: not runs_engine(cluster.two), 60)


def runs_engine(machine: Machine) -> bool:
    """Return whether processes of an engine, or of its Ray, are on a machine."""
    left = machine.run("ps", "-eo", "args").stdout
    return "raylet" in left or "anabranch." in left


def answers(cluster: Cluster, machine: Machine) -> bool:
    try:
        return cluster.infer(machine).status_code == 200
    except httpx.TransportError:
        return False
