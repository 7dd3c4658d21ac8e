"""A machine is lost, its cable is out, or slow: what needs it fails at once, the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clusters import PARTS, ROOM, Cluster
from tests.engines import BODY, done
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
AT_ONCE_S = 15.0
"""Far less than the minute that a request has, and more than two slow processors take."""
CABLE_S = 20.0
DELAY_S, LOSS = 0.05, 0.01
"""Of a slow network: the time that a frame takes more, either way, and the share that is lost."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as one:
        yield one


@pytest.fixture(scope="module")
def cluster(network: Network) -> Cluster:
    """Two machines with six processors each, beside the head; all but two of each are taken."""
    one = Cluster([network.machine(name) for name in ("one", "two", "three")])
    one.up("--resources", "CPU=0")
    for machine in one.machines[1:]:
        done(one.join(machine, *ROOM))
    deploy(one, "pair", cpu=4, replicas=2)
    for machine in one.machines:
        until(lambda machine=machine: one.is_ready(machine))
    return one


def deploy(cluster: Cluster, name: str, cpu: int, replicas: int) -> None:
    text = SPEC.replace("NAME", name).replace("CPU", str(cpu))
    cluster.deploy(name, text.replace("REPLICAS", str(replicas)), parts=PARTS)


def ask(cluster: Cluster, name: str, output: str) -> httpx.Response:
    body = BODY | {"outputs": [{"name": output}]}
    return cluster.infer(name, body=body, timeout=AT_ONCE_S)


def both_run(cluster: Cluster) -> bool:
    return cluster.running("pair", "far") == 2


def ids(cluster: Cluster) -> dict[str, str]:
    """Ray's ids of the machines: another one after a machine was lost and came back."""
    return {name: one["id"] for name, one in cluster.nodes().items()}


def test_a_cable_that_is_out_for_a_while_fails_no_idempotent_request(cluster: Cluster) -> None:
    until(lambda: both_run(cluster))
    before = ids(cluster)
    cut, well = cluster.machines[1:]
    with cluster.load("pair", cluster.head, well) as asking:
        asking.more()
        cut.cut()
        began = time.monotonic()
        asking.more(100)
        time.sleep(max(0.0, CABLE_S - (time.monotonic() - began)))
        asking.more(100)
        asking.each()  # none of them waits for the cable
        cut.mend()
        asking.more()
        until(lambda: both_run(cluster), 240)
    print(f"slowest request {asking.slowest:.1f} s, {asking.found}")
    assert asking.found.keys() == {"ok"}, asking.found
    assert ids(cluster) == before


def test_a_slow_network_fails_no_idempotent_request_and_changes_nothing(cluster: Cluster) -> None:
    """Also not at the edge of the machine whose network it is, in the middle of a rollout."""
    slow, well = cluster.machines[1:]
    with cluster.without("steady"):
        deploy(cluster, "steady", cpu=1, replicas=2)
        step = "--rollout", "25", "--hold", "1h"
        cluster.run("deploy", f"{HOME}/steady/graph.yaml", "--force", *step)
        until(lambda: weights(cluster) == {"1": 75, "2": 25}, 120)
        until(lambda: cluster.running("steady", "far") == 2)
        before = ids(cluster), stored(cluster)
        with cluster.load("steady", slow, well) as asking:
            asking.more()
            with slow.slow(DELAY_S, LOSS):
                asking.more()
                began = time.monotonic()
                assert cluster.infer("steady", slow).status_code == 200
                delayed_s = time.monotonic() - began
            asking.more()
            until(lambda: cluster.running("steady", "far") == 2)
        print(f"slowest request {asking.slowest:.1f} s, {asking.found}")
        assert asking.found.keys() == {"ok"}, asking.found
        assert delayed_s > 2 * DELAY_S  # there and back, at least
        assert (ids(cluster), stored(cluster)) == before
        assert weights(cluster) == {"1": 75, "2": 25}


def weights(cluster: Cluster) -> Any:
    return cluster.api("GET", "/graphs/steady/traffic")["weights"]


def stored(cluster: Cluster) -> Any:
    """What the store says of the graph."""
    graph = cluster.api("GET", "/graphs/steady")
    states = [(one["revision"], one["state"]) for one in graph["revisions"]]
    return graph["live"], graph["state"], graph["rollout"], states


def test_a_lost_machine_blocks_no_graph_and_its_capacity_comes_back(
    cluster: Cluster, network: Network
) -> None:
    """The segment of ``alone`` fits on no other machine: ``filler`` takes the room."""
    deploy(cluster, "alone", cpu=2, replicas=1)
    deploy(cluster, "filler", cpu=2, replicas=1)
    (home,) = cluster.homes("alone")["far"]
    lost = next(one for one in cluster.machines if one.name == home)
    (well,) = (one for one in cluster.machines[1:] if one is not lost)
    assert cluster.homes("filler")["far"] == [well.name]
    with cluster.load("pair", cluster.head, well) as asking:
        asking.more()
        lost.switch_off()
        asking.more()
        until(lambda: ask(cluster, "alone", "far").status_code == 503)
        for _ in range(20):
            reply = ask(cluster, "alone", "far")
            assert reply.status_code == 503 and "retry-after" in reply.headers
            assert ask(cluster, "alone", "near").status_code == 200
        until(lambda: "down since" in cluster.run("status", "alone"), 90)
        until(lambda: "its node is lost" in cluster.run("status", "alone"), 90)
        ready = cluster.ask("GET", "/v2/models/alone/ready", timeout=AT_ONCE_S)
        assert ready.status_code == 503, ready.text
        another = network.machine("four")
        done(cluster.join(another, *ROOM))
        cluster.machines[cluster.machines.index(lost)] = another
        until(lambda: cluster.is_ready(another))
        until(lambda: ask(cluster, "alone", "far").status_code == 200, 240)
        until(lambda: both_run(cluster), 240)
        asking.more()
    print(f"slowest request {asking.slowest:.1f} s, {asking.found}")
    assert asking.found.keys() == {"ok"}, asking.found
    assert "down since" not in cluster.run("status", "alone")
