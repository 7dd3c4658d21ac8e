"""An engine of three machines: two join the first, do its work, and leave it again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch import Graph
from tests.e2e.conftest import Load, asking
from tests.engines import done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    double: {type: predictor, component: parts.py:Double, inputs: {x: x}, resources: {cpu: CPU}}
    shift: {type: predictor, component: parts.py:Shift, inputs: {x: double}, resources: {cpu: CPU}}
  outputs: {y: shift}
"""
PARTS = """
class Double:
    def predict(self, x):
        return x * 2


class Shift:
    def predict(self, x):
        return x + 1
"""
VALUES = np.float32([[1, 2], [3, 4]])
BODY = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": VALUES.flatten().tolist()}
    ]
}
CLIENTS = 8
ROUNDS = 20
"""Requests of each client before and after a change, at least."""


@dataclass
class Cluster:
    """An engine on the first of several machines."""

    machines: list[Machine]
    join_s: float = 0.0
    """Time that a join took, in seconds."""

    @property
    def head(self) -> Machine:
        return self.machines[0]

    def up(self) -> None:
        """No processor of the head is for graphs."""
        host = "--host", self.head.address, "--anonymous", "caller"
        done(self.head.run("anabranch", "up", *host, "--resources", "CPU=0"))

    def join(self, machine: Machine, *options: str, key: str = "") -> Any:
        file = machine.path(f"{HOME}/key")
        file.touch(0o600)
        file.write_text(key or self.head.path(f"{HOME}/.anabranch/token").read_text())
        engine = f"{self.head.address}:8000", "--token-file", f"{HOME}/key"
        return machine.run("anabranch", "join", *engine, "--resources", "CPU=6", *options)

    def nodes(self, machine: Machine | None = None) -> dict[str, Any]:
        """Machines by their names, as seen from one of them."""
        told = done((machine or self.head).run("anabranch", "nodes", "-o", "json"))
        return {one["name"]: one for one in json.loads(told.stdout)["nodes"]}

    def homes(self, graph: str) -> dict[str, str]:
        """The machines of a graph's segments."""
        return {
            segment["deployment"]: name
            for name, one in self.nodes().items()
            for segment in one["segments"]
            if segment["graph"] == graph and segment["part"] == "segments"
        }

    def deploy(self, name: str, cpu: int) -> None:
        """Deploy a graph of two segments that want so many processors each."""
        write(self.head.path(f"{HOME}/{name}"), name, cpu)
        done(self.head.run("anabranch", "deploy", f"{HOME}/{name}/graph.yaml"))

    def infer(self, name: str) -> httpx.Response:
        with self.head.inside():
            return httpx.post(self.graph_url(name), json=BODY, timeout=60)

    def graph_url(self, name: str) -> str:
        """Where requests to a graph go, at the head's edge."""
        return f"http://{self.head.address}:8000/v2/models/{name}/infer"


def write(folder: Path, name: str, cpu: int) -> None:
    folder.mkdir()
    (folder / "parts.py").write_text(PARTS)
    (folder / "graph.yaml").write_text(SPEC.replace("NAME", name).replace("CPU", str(cpu)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        one = Cluster([network.machine(name) for name in ("one", "two", "three")])
        one.up()
        _, two, three = one.machines
        began = time.monotonic()
        done(one.join(two, "--labels", "zone=north"))
        one.join_s = time.monotonic() - began
        done(one.join(three, "--labels", "zone=south"))
        yield one


def test_machines_that_have_joined_do_what_only_they_can(cluster: Cluster, tmp_path: Path) -> None:
    nodes = cluster.nodes()
    assert list(nodes) == ["one", "three", "two"] and nodes["one"]["head"]
    assert {one["state"] for one in nodes.values()} == {"alive"}
    assert nodes["two"]["labels"] == {"zone": "north"}
    assert nodes["two"]["resources"]["CPU"]["total"] == 6.0
    # A machine of an engine is as good a place for its commands as the head.
    assert list(cluster.nodes(cluster.machines[1])) == list(nodes)

    began = time.monotonic()
    cluster.deploy("spread", cpu=4)
    reply = cluster.infer("spread")
    first_s = time.monotonic() - began
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    write(tmp_path / "spread", "spread", cpu=4)
    expected = Graph.load(tmp_path / "spread" / "graph.yaml").run({"x": VALUES})["y"]
    assert np.array_equal(np.float32(output["data"]).reshape(2, 2), expected)
    assert sorted(cluster.homes("spread").values()) == ["three", "two"]
    print(f"join {cluster.join_s:.1f} s, deploy and first answer there {first_s:.1f} s")
    done(cluster.head.run("anabranch", "delete", "spread", "--yes"))


def test_who_may_not_join_is_told_why(cluster: Cluster) -> None:
    two = cluster.machines[1]
    down = two.run("anabranch", "down")
    assert down.returncode == 1 and "`anabranch leave`" in down.stderr
    again = cluster.join(two)
    assert again.returncode == 1 and "already: `anabranch leave`" in again.stderr
    elsewhere = f"{HOME}/elsewhere"
    refused = cluster.join(two, "--home", elsewhere, key="wrong")
    assert refused.returncode == 1 and "key" in refused.stderr
    twice = cluster.join(two, "--home", elsewhere)
    assert twice.returncode == 1 and "is a machine of this engine already, 'two'" in twice.stderr
    assert not two.path(f"{elsewhere}/engine.json").exists()


def test_a_machine_leaves_under_load_and_no_request_fails(cluster: Cluster) -> None:
    cluster.deploy("moving", cpu=2)
    homes = cluster.homes("moving")
    leaver = next(one for one in cluster.machines if one.name == homes["double"])
    (stayer,) = {"two", "three"} - {leaver.name}
    clients = Load(cluster.graph_url("moving"), BODY, CLIENTS)
    with asking(clients, cluster.head.inside):
        clients.until_asked(CLIENTS * ROUNDS)
        done(leaver.run("anabranch", "leave"))
        clients.until_asked(CLIENTS * ROUNDS)
    assert clients.failures == {}
    assert set(cluster.homes("moving").values()) == {stayer}
    assert list(cluster.nodes()) == ["one", stayer]
    assert not leaver.path(f"{HOME}/.anabranch/engine.json").exists()
    assert not any(leaver.path("/tmp").glob("anab-*"))
    left = leaver.run("ps", "-eo", "args").stdout
    assert "raylet" not in left and "anabranch." not in left

    done(cluster.join(leaver))
    assert cluster.nodes().keys() == {"one", "two", "three"}
    done(cluster.head.run("anabranch", "delete", "moving", "--yes"))


@pytest.mark.nightly
def test_machines_join_an_engine_again_whose_ray_was_started_anew(cluster: Cluster) -> None:
    """The GCS that knew them is gone with all that it knew."""
    cluster.deploy("again", cpu=2)
    before = {name: one["id"] for name, one in cluster.nodes().items()}
    done(cluster.head.run("pkill", "-KILL", "-f", "control.engine.head"))

    def are_back() -> bool:
        told = cluster.head.run("anabranch", "nodes", "-o", "json")
        found = json.loads(told.stdout)["nodes"] if told.returncode == 0 else []
        return {one["name"] for one in found if before[one["name"]] != one["id"]} == before.keys()

    until(are_back, 240)
    until(lambda: cluster.infer("again").status_code == 200, 240)
    done(cluster.head.run("anabranch", "delete", "again", "--yes"))
