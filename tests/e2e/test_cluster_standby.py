"""The head machine is lost, and another one takes its place, under load and with all graphs.

The store is PostgreSQL, on a machine of its own, from which the clients ask: as a load balancer
does, which sends a request elsewhere where an edge is closed or says that it cannot answer.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.clusters import CLIENTS, PARTS, ROOM, Cluster, Load
from tests.control.postgres import running_server
from tests.e2e.test_cluster_lost import SPEC, both_run, deploy
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

ROUNDS = 3
"""How often a load balancer tries each edge."""
THINK_S = 0.05
"""Pause of a client between two requests: what starts meanwhile needs processors, too."""
LOG = f"{HOME}/standby.log"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Network() as network, tempfile.TemporaryDirectory(dir="/var/tmp") as shared:
        database = network.machine("database")
        with (
            database.inside(),
            running_server(database.address) as server,
            server.database() as url,
        ):
            machines = [network.machine(name) for name in ("one", "two", "three")]
            env = {"ANABRANCH_STORE": url, "ANABRANCH_BUNDLE_STORE": f"file://{shared}/bundles"}
            found = Cluster(machines, env)
            found.up("--resources", "CPU=0")
            for machine in machines[1:]:
                done(found.join(machine, *ROOM))
            # A router for each machine: without one, nobody answers where only that one is left.
            text = SPEC.replace("replicas: 2", "replicas: 3").replace("NAME", "pair")
            text = text.replace("CPU", "1").replace("REPLICAS", "2")
            found.deploy("pair", text, parts=PARTS)
            until(lambda: both_run(found))
            until(lambda: set(found.homes("pair").get("router", ())) == {"one", "two", "three"}, 60)
            try:
                yield found
            finally:
                for machine in machines[1:]:
                    log = machine.path(f"{HOME}/.anabranch/logs/supervisor.log")
                    print(machine.name, log.read_text() if log.exists() else "", sep="\n")


def asked(client: httpx.Client, edges: Sequence[Machine], name: str) -> str:
    """Ask at the edges in turn; what has become of the request."""
    problem = ""
    for edge in (*edges,) * ROUNDS:
        url = f"http://{edge.address}:8000/v2/models/{name}/infer"
        try:
            reply = client.post(url, json=BODY)
        except httpx.TransportError as error:
            problem = f"{edge.name}: {error!r}"
            continue
        if reply.status_code == 200:
            return "ok"
        problem = f"{edge.name}: {reply.status_code} {reply.text[:300]}"
        if reply.status_code != 503:
            return problem
    return problem


@contextmanager
def balanced(name: str, *edges: Machine) -> Iterator[Load]:
    """Clients that ask without end; each has an edge of its own first."""
    told, stopping, lock = Load(), threading.Event(), threading.Lock()

    def ask(number: int) -> None:
        first = number % len(edges)
        own = (*edges[first:], *edges[:first])
        with httpx.Client(timeout=httpx.Timeout(60, connect=5)) as client:
            while not stopping.wait(THINK_S):
                began = time.monotonic()
                kind = asked(client, own, name)
                with lock:
                    told.found[kind] += 1
                    told.slowest = max(told.slowest, time.monotonic() - began)

    clients = [threading.Thread(target=ask, args=(one,)) for one in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        yield told
    finally:
        stopping.set()
        for one in clients:
            one.join()


def begin_rollout(cluster: Cluster) -> None:
    """Deploy a second revision, which has a tenth of the requests for an hour."""
    (cluster.head.path(f"{HOME}/pair") / "parts.py").write_text(PARTS + "\n# the second one\n")
    steps = "--rollout", "10,50", "--hold", "1h"
    done(cluster.head.run("anabranch", "deploy", f"{HOME}/pair/graph.yaml", *steps))


def traffic(cluster: Cluster) -> Any:
    """The weights of the revisions, and the step of the rollout."""
    told = json.loads(done(cluster.head.run("anabranch", "status", "pair", "-o", "json")).stdout)
    weights = {one["revision"]: one["weight"] for one in told["arms"]}
    return weights, told["rollout"]["step"], told["rollout"]["phase"]


def stand_by(cluster: Cluster, machine: Machine) -> Any:
    with machine.path(LOG).open("wb") as log:
        options = "--host", machine.address, "--anonymous", "invoker", "--resources", "CPU=6"
        started = machine.start("anabranch", "up", "--standby", *options, env=cluster.env, log=log)
    until(lambda: "waiting for the engine" in machine.path(LOG).read_text(), 60)
    return started


def names(machine: Machine) -> set[str]:
    """The machines that are a part of the engine, as one of them sees it; none while it cannot."""
    told = machine.run("anabranch", "nodes", "-o", "json")
    found = json.loads(told.stdout)["nodes"] if told.returncode == 0 else []
    return {one["name"] for one in found if one["state"] == "alive"}


def test_another_machine_takes_over_and_finds_everything(cluster: Cluster) -> None:
    one, two, three = cluster.machines
    begin_rollout(cluster)
    before = traffic(cluster)
    assert before[0] == {1: 90.0, 2: 10.0}, before
    waiting = stand_by(cluster, two)
    with balanced("pair", two, three) as told:
        told.more()
        one.switch_off()
        began = time.monotonic()
        told.more()
        assert waiting.wait(300) == 0, two.path(LOG).read_text()
        up_s = time.monotonic() - began
        told.more()
        until(lambda: names(three) == {"two", "three"}, 300)
        back_s = time.monotonic() - began
        after = Cluster([two, three], cluster.env)
        until(lambda: both_run(after), 120)
        told.more()
        assert traffic(after) == before
        deploy(after, "later", cpu=1, replicas=2)
        told.more()
    print(f"head {up_s:.0f} s, all machines {back_s:.0f} s, slowest request {told.slowest:.1f} s")
    print(told.found, two.path(LOG).read_text())
    assert told.found.keys() == {"ok"}, told.found
    with httpx.Client(timeout=60) as client:
        for edge in (two, three):
            assert asked(client, [edge], "later") == "ok"
    assert Counter(one["head"] for one in after.nodes().values()) == {True: 1, False: 1}
