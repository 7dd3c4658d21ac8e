"""A machine is lost, or its cable is out: what needs it fails at once, the rest goes on."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.e2e.test_cluster_nodes import BODY, PARTS, Cluster
from tests.engines import done
from tests.machines import HOME, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  scaling: {replicas: 2}
  nodes:
    near: {type: predictor, component: parts.py:Double, inputs: {x: x}, idempotent: true}
    far:
      {type: predictor, component: parts.py:Shift, inputs: {x: x}, resources: {cpu: CPU},
       scaling: {replicas: REPLICAS}, idempotent: true, retries: 5}
  outputs: {near: near, far: far}
"""
CLIENTS = 8
AT_ONCE_S = 15.0
"""Far less than the minute that a request has, and more than two slow processors take."""
CABLE_S = 20.0


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as one:
        yield one


@pytest.fixture(scope="module")
def cluster(network: Network) -> Cluster:
    """Two machines with six processors each, beside the head; all but two of each are taken."""
    one = Cluster([network.machine(name) for name in ("one", "two", "three")])
    one.up()
    for machine in one.machines[1:]:
        done(one.join(machine))
    deploy(one, "pair", cpu=4, replicas=2)
    return one


def deploy(cluster: Cluster, name: str, cpu: int, replicas: int) -> None:
    folder = cluster.head.path(f"{HOME}/{name}")
    folder.mkdir()
    (folder / "parts.py").write_text(PARTS)
    text = SPEC.replace("NAME", name).replace("CPU", str(cpu))
    (folder / "graph.yaml").write_text(text.replace("REPLICAS", str(replicas)))
    done(cluster.head.run("anabranch", "deploy", f"{HOME}/{name}/graph.yaml"))


def running(cluster: Cluster, name: str) -> int:
    """How many replicas of the segment run."""
    told = done(cluster.head.run("anabranch", "status", name, "-o", "json"))
    return next(
        one["running"] for one in json.loads(told.stdout)["segments"] if one["name"] == "far"
    )


@dataclass
class Load:
    """What becomes of the requests of clients, and the longest time between two answers."""

    found: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def more(self, number: int = 400) -> None:
        """Wait for so many further answers."""
        enough = self.found["ok"] + number
        until(lambda: self.found["ok"] >= enough, 180)


@contextmanager
def load(cluster: Cluster, name: str) -> Iterator[Load]:
    """Clients that ask for all outputs without end, at the head's edge."""
    told, stopping, lock = Load(), threading.Event(), threading.Lock()

    def ask() -> None:
        with cluster.head.inside(), httpx.Client(timeout=60) as client:
            while not stopping.is_set():
                began = time.monotonic()
                try:
                    reply = client.post(f"{cluster.url}/v2/models/{name}/infer", json=BODY)
                    kind = "ok" if reply.status_code == 200 else reply.text[:300]
                except httpx.HTTPError as error:
                    kind = repr(error)
                with lock:
                    told.found[kind] += 1
                    told.slowest = max(told.slowest, time.monotonic() - began)

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        yield told
    finally:
        stopping.set()
        for one in clients:
            one.join()


def ask(cluster: Cluster, name: str, output: str) -> httpx.Response:
    body = BODY | {"outputs": [{"name": output}]}
    with cluster.head.inside():
        url = f"{cluster.url}/v2/models/{name}/infer"
        return httpx.post(url, json=body, timeout=AT_ONCE_S)


def test_a_cable_that_is_out_for_a_while_fails_no_idempotent_request(cluster: Cluster) -> None:
    until(lambda: running(cluster, "pair") == 2)
    before = cluster.nodes()
    with load(cluster, "pair") as told:
        told.more()
        cluster.machines[1].cut()
        began = time.monotonic()
        told.more(100)
        time.sleep(max(0.0, CABLE_S - (time.monotonic() - began)))
        told.more(100)
        cluster.machines[1].mend()
        told.more()
        until(lambda: running(cluster, "pair") == 2, 240)
    print(f"slowest request {told.slowest:.1f} s, {told.found}")
    assert told.found.keys() == {"ok"}, told.found
    assert told.slowest < CABLE_S / 2
    after = cluster.nodes()
    assert {name: one["id"] for name, one in after.items()} == {
        name: one["id"] for name, one in before.items()
    }


def test_a_lost_machine_blocks_no_graph_and_its_capacity_comes_back(
    cluster: Cluster, network: Network
) -> None:
    """The segment of ``alone`` fits on no other machine: ``filler`` takes the room."""
    deploy(cluster, "alone", cpu=2, replicas=1)
    deploy(cluster, "filler", cpu=2, replicas=1)
    home = cluster.homes("alone")["far"]
    lost = next(one for one in cluster.machines if one.name == home)
    assert cluster.homes("filler")["far"] != home
    with load(cluster, "pair") as told:
        told.more()
        lost.switch_off()
        told.more()
        until(lambda: ask(cluster, "alone", "far").status_code == 503)
        for _ in range(20):
            reply = ask(cluster, "alone", "far")
            assert reply.status_code == 503 and "retry-after" in reply.headers
            assert ask(cluster, "alone", "near").status_code == 200
        until(lambda: "down since" in status(cluster, "alone"), 90)
        until(lambda: "its node is lost" in status(cluster, "alone"), 90)
        with cluster.head.inside():
            ready = httpx.get(f"{cluster.url}/v2/models/alone/ready", timeout=AT_ONCE_S)
        assert ready.status_code == 503, ready.text
        another = network.machine("four")
        done(cluster.join(another))
        until(lambda: ask(cluster, "alone", "far").status_code == 200, 240)
        until(lambda: running(cluster, "pair") == 2, 240)
        told.more()
    print(f"slowest request {told.slowest:.1f} s, {told.found}")
    assert told.found.keys() == {"ok"}, told.found
    assert "down since" not in status(cluster, "alone")


def status(cluster: Cluster, name: str) -> str:
    return done(cluster.head.run("anabranch", "status", name)).stdout
