"""Replicas run where their graphs ask for, wait for machines that come, and leave those that go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch import Graph
from tests.e2e.conftest import Load, node, spec, value
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
class Double:
    def transform(self, x):
        return x * 2


class Increment:
    def transform(self, x):
        return x + 1
"""
SOUTH_WEST = {"labels": {"zone": "in(south, west)"}}
BOTH = {"labels": {"zone": "in(north, south)"}}


@dataclass
class Cluster:
    """An engine that may grow: its head ``north`` has a licence, the others join for tests."""

    north: Machine
    south: Machine
    west: Machine

    def join(self, machine: Machine, resources: str) -> None:
        """Let a machine join, unless it has; its zone is its name."""
        if machine.name in [one["name"] for one in self.nodes()]:
            return
        key = machine.path(f"{HOME}/key")
        key.touch(0o600)
        key.write_text(self.token)
        engine = (f"{self.north.address}:8000", "--token-file", "key")
        zone = ("--labels", f"zone={machine.name}", "--resources", resources)
        done(machine.run("anabranch", "join", *engine, *zone))

    def leave(self, machine: Machine) -> None:
        """Have a machine leave, if it has joined."""
        if machine.name in [one["name"] for one in self.nodes()]:
            done(machine.run("anabranch", "leave"))

    @property
    def token(self) -> str:
        return self.north.path(f"{HOME}/.anabranch/token").read_text().strip()

    def api(self, method: str, path: str) -> Any:
        """One call of the control API, which succeeds."""
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"http://{self.north.address}:8000/control/v1{path}"
        with self.north.inside():
            reply = httpx.request(method, url, headers=headers, timeout=60)
        assert reply.is_success, reply.text
        return reply.json()

    def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", "/nodes")["nodes"]
        return found

    def homes(self, graph: str) -> dict[str, list[str]]:
        """The names of the machines of a graph's replicas, by deployment."""
        found: dict[str, list[str]] = {}
        for machine in self.nodes():
            for share in machine["segments"]:
                if share["graph"] == graph:
                    names = [machine["name"]] * share["replicas"]
                    found.setdefault(share["deployment"], []).extend(names)
        return found

    def write(self, graph: Mapping[str, Any]) -> str:
        """Write a bundle on the head; the spec's path there."""
        folder = f"{HOME}/{graph['metadata']['name']}"
        there = self.north.path(folder)
        there.mkdir()
        (there / "components.py").write_text(CODE)
        (there / "graph.yaml").write_text(json.dumps(graph))
        return f"{folder}/graph.yaml"

    def deploy(self, graph: Mapping[str, Any]) -> None:
        done(self.north.run("anabranch", "deploy", self.write(graph)))

    def infer(self, name: str) -> list[float]:
        with self.north.inside():
            return value(httpx.post(self.url(name), json=BODY, timeout=60))

    def url(self, name: str) -> str:
        return f"http://{self.north.address}:8000/v2/models/{name}/infer"

    @contextmanager
    def without(self, *graphs: str) -> Iterator[None]:
        """Delete graphs in the end."""
        try:
            yield
        finally:
            for name in graphs:
                self.north.run("anabranch", "delete", name, "--yes")

    @contextmanager
    def load(self, name: str) -> Iterator[Load]:
        """Clients that ask at the head's edge without a pause."""
        one = Load(self.url(name), BODY, clients=8)

        def run() -> None:
            with self.north.inside():
                one.run()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            one.until_asked(8)
            yield one
        finally:
            one.stop()
            thread.join()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        one = Cluster(*(network.machine(name) for name in ("north", "south", "west")))
        host = ("--host", one.north.address, "--anonymous", "caller", "--autoscaling")
        own = ("--labels", "zone=north", "--resources", "CPU=4,licence=1")
        done(one.north.run("anabranch", "up", *host, *own))
        yield one


def test_each_node_runs_on_a_machine_that_it_asks_for(cluster: Cluster, tmp_path: Path) -> None:
    graph = spec(
        "placed",
        first=node("Double", placement={"labels": {"zone": "in(east, south)"}}),
        second=node("Increment", "first", resources={"custom": {"licence": 0.5}}),
        third=node("Double", "second", placement={"node_affinity": "south"}),
        fourth=node(
            "Increment", "third", placement={"labels": {"zone": "!south"}, "node_affinity": "north"}
        ),
    )
    graph["spec"]["placement"] = {"labels": {"zone": "south"}}
    cluster.join(cluster.south, "CPU=4")
    with cluster.without("placed"):
        cluster.deploy(graph)
        assert cluster.homes("placed") == {
            "router": ["south"], "first": ["south"], "second": ["north"], "third": ["south"],
            "fourth": ["north"],
        }  # fmt: skip
        (tmp_path / "components.py").write_text(CODE)
        (tmp_path / "graph.yaml").write_text(json.dumps(graph))
        local = Graph.load(tmp_path / "graph.yaml")
        expected = local.run({"x": np.float32([[1, 2]])})["y"]
        assert cluster.infer("placed") == expected.ravel().tolist()


def test_a_revision_waits_for_a_machine_and_starts_once_one_joins(cluster: Cluster) -> None:
    asked = {"resources": {"custom": {"fpga": 1}}, "placement": {"labels": {"zone": "west"}}}
    said = "waits for 1 fpga, a machine with zone: west for segment 'far': no machine has it"
    cluster.leave(cluster.west)
    with cluster.without("patient"):
        path = cluster.write(spec("patient", far=node("Double", **asked)))
        sent = cluster.north.run("anabranch", "deploy", path, "--timeout", "20s")
        assert sent.returncode == 1
        assert f"patient revision 1 is not up after 20 s, is deploying; it {said}" in sent.stderr
        graph = cluster.api("GET", "/graphs/patient")
        assert graph["state"] == "deploying"
        assert graph["revisions"][0]["reason"] == said
        demand = {"resources": {"fpga": 1.0}, "labels": {"zone": "west"}, "count": 1}
        assert demand in cluster.api("GET", "/nodes")["pending"]  # what Ray's autoscaler is told
        cluster.join(cluster.west, "CPU=4,fpga=1")
        until(lambda: cluster.api("GET", "/graphs/patient")["state"] == "live", 120)
        assert cluster.homes("patient")["far"] == ["west"]
        until(lambda: cluster.infer("patient") == [2.0, 4.0], 60)
        events = cluster.api("GET", "/events?graph=patient")["events"]
        assert {"deploy_waits", "deploy_resumed"} <= {event["kind"] for event in events}


def test_replicas_that_need_a_machine_each_are_on_as_many(cluster: Cluster) -> None:
    spread = node("Double", placement={"spread": "node", **BOTH}, scaling={"replicas": 3})

    def segment() -> Any:
        return cluster.api("GET", "/graphs/spread")["segments"][1]

    cluster.join(cluster.south, "CPU=4")
    with cluster.without("spread"):
        path = cluster.write(spec("spread", far=spread))
        cluster.north.run("anabranch", "deploy", path, "--timeout", "1s")
        until(lambda: (segment()["running"], segment()["waiting"]) == (2, 1), 120)
        assert sorted(cluster.homes("spread")["far"]) == ["north", "south"]
        assert segment()["waits_for"] == (
            "a machine with zone: in(north,south): each machine that could take it has one already"
            " (`spread: node`)"
        )


def test_what_runs_on_a_machine_that_is_drained_moves_before_it_goes(cluster: Cluster) -> None:
    graph = spec("moving", far=node("Double", scaling={"replicas": 2}, placement=SOUTH_WEST))
    graph["spec"] |= {"scaling": {"replicas": 2}, "placement": SOUTH_WEST}
    cluster.join(cluster.west, "CPU=4,fpga=1")
    with cluster.without("moving"):
        cluster.deploy(graph)
        leaver = cluster.homes("moving")["router"][0]
        (stayer,) = {"south", "west"} - {leaver}
        with cluster.load("moving") as asking:
            cluster.api("POST", f"/nodes/{leaver}/drain")
            asking.until(lambda: leaver not in [one["name"] for one in cluster.nodes()])
            asking.until_asked(100)
        assert asking.failures == {}
        assert cluster.homes("moving") == {"router": [stayer] * 2, "far": [stayer] * 2}
    machine = cluster.south if leaver == "south" else cluster.west
    machine.run("anabranch", "leave")
