"""Replicas run where their graphs ask for, wait for machines that come, and leave those that go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from tests.clusters import Cluster
from tests.e2e.conftest import node, spec, value
from tests.engines import done
from tests.machines import Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
class Double:
    def transform(self, x):
        return x * 2


class Times:
    def __init__(self, by):
        self.by = by

    def predict(self, x):
        return {"score": x * self.by}


class Increment:
    def transform(self, x):
        return x + 1
"""
SOUTH_WEST = {"labels": {"zone": "in(south, west)"}}
BOTH = {"labels": {"zone": "in(north, south)"}}


@dataclass
class Zones(Cluster):
    """An engine that may grow: its head ``north`` has a licence, the others join for tests."""

    @property
    def south(self) -> Machine:
        return self.machines[1]

    @property
    def west(self) -> Machine:
        return self.machines[2]

    def require(self, machine: Machine, resources: str) -> None:
        """Have a machine join, unless it has; its zone is its name."""
        if machine.name not in self.nodes():
            zone = "--labels", f"zone={machine.name}"
            done(self.join(machine, *zone, "--resources", resources))

    def leave(self, machine: Machine) -> None:
        """Have a machine leave, if it has joined."""
        if machine.name in self.nodes():
            self.run("leave", machine=machine)

    def bundle(self, graph: Mapping[str, Any]) -> str:
        """Write a bundle on the head; the spec's path there."""
        return self.write(graph["metadata"]["name"], graph, components=CODE)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Zones]:
    with Network() as network:
        one = Zones([network.machine(name) for name in ("north", "south", "west")])
        one.up("--autoscaling", "--labels", "zone=north", "--resources", "CPU=4,licence=1")
        yield one


def test_each_node_runs_on_a_machine_that_it_asks_for(cluster: Zones, tmp_path: Path) -> None:
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
    cluster.require(cluster.south, "CPU=4")
    with cluster.without("placed"):
        cluster.run("deploy", cluster.bundle(graph))
        assert cluster.homes("placed") == {
            "router": ["south"], "first": ["south"], "second": ["north"], "third": ["south"],
            "fourth": ["north"],
        }  # fmt: skip
        (tmp_path / "components.py").write_text(CODE)
        (tmp_path / "graph.yaml").write_text(json.dumps(graph))
        local = Graph.load(tmp_path / "graph.yaml")
        expected = local.run({"x": np.float32([[1, 2]])})["y"]
        assert value(cluster.infer("placed")) == expected.ravel().tolist()


def test_graphs_on_all_machines_use_a_model_that_is_on_one(cluster: Zones) -> None:
    def scorer(by: float) -> dict[str, Any]:
        """A model on the machine ``south``."""
        rows = {"datatype": "FP32", "shape": [-1, 2]}
        return {
            "apiVersion": "anabranch/v1",
            "kind": "Model",
            "metadata": {"name": "scorer"},
            "spec": {
                "component": "components.py:Times",
                "args": {"by": by},
                "inputs": {"x": rows},
                "outputs": {"score": rows},
                "placement": {"labels": {"zone": "south"}},
            },
        }

    def scores(name: str) -> list[float]:
        return value(cluster.infer(name))

    cluster.require(cluster.south, "CPU=4")
    names = ("north", "south")
    with cluster.without("scorer"), cluster.without(*names):
        cluster.run("deploy", cluster.bundle(scorer(2)))
        for name in names:
            score = {"type": "predictor", "model": "shared://scorer", "inputs": {"x": "x"}}
            graph = spec(name, score=score)
            graph["spec"]["placement"] = {"labels": {"zone": name}}
            cluster.run("deploy", cluster.bundle(graph))
        assert {place for one in names for place in cluster.homes(one)["router"]} == set(names)
        assert cluster.homes("scorer")["model"] == ["south"]
        assert [scores(name) for name in names] == [[2, 4], [2, 4]]
        cluster.run("deploy", cluster.write("again", scorer(3), components=CODE))
        until(lambda: [scores(name) for name in names] == [[3, 6], [3, 6]], 60)

        def users() -> dict[str, int]:
            (found,) = cluster.api("GET", "/models")["models"]
            return {one["graph"]: one["requests"] for one in found["users"]}

        until(lambda: all(users().get(name, 0) >= 2 for name in names), 60)


def test_a_revision_waits_for_a_machine_and_starts_once_one_joins(cluster: Zones) -> None:
    asked = {"resources": {"custom": {"fpga": 1}}, "placement": {"labels": {"zone": "west"}}}
    said = "waits for 1 fpga, a machine with zone: west for segment 'far': no machine has it"
    cluster.leave(cluster.west)
    with cluster.without("patient"):
        path = cluster.bundle(spec("patient", far=node("Double", **asked)))
        sent = cluster.head.run("anabranch", "deploy", path, "--timeout", "20s")
        assert sent.returncode == 1
        assert f"patient revision 1 is not up after 20 s, is deploying; it {said}" in sent.stderr
        graph = cluster.api("GET", "/graphs/patient")
        assert graph["state"] == "deploying"
        assert graph["revisions"][0]["reason"] == said
        demand = {"resources": {"fpga": 1.0}, "labels": {"zone": "west"}, "count": 1}
        assert demand in cluster.api("GET", "/nodes")["pending"]  # what Ray's autoscaler is told
        cluster.require(cluster.west, "CPU=4,fpga=1")
        until(lambda: cluster.api("GET", "/graphs/patient")["state"] == "live", 120)
        assert cluster.homes("patient")["far"] == ["west"]
        until(lambda: value(cluster.infer("patient")) == [2.0, 4.0], 60)
        events = cluster.api("GET", "/events?graph=patient")["events"]
        assert {"deploy_waits", "deploy_resumed"} <= {event["kind"] for event in events}


def test_replicas_that_need_a_machine_each_are_on_as_many(cluster: Zones) -> None:
    spread = node("Double", placement={"spread": "node", **BOTH}, scaling={"replicas": 3})

    def segment() -> Any:
        return cluster.api("GET", "/graphs/spread")["segments"][1]

    cluster.require(cluster.south, "CPU=4")
    with cluster.without("spread"):
        path = cluster.bundle(spec("spread", far=spread))
        cluster.head.run("anabranch", "deploy", path, "--timeout", "1s")
        until(lambda: (segment()["running"], segment()["waiting"]) == (2, 1), 120)
        assert sorted(cluster.homes("spread")["far"]) == ["north", "south"]
        assert segment()["waits_for"] == (
            "a machine with zone: in(north,south): each machine that could take it has one already"
            " (`spread: node`)"
        )


def test_what_runs_on_a_machine_that_is_drained_moves_before_it_goes(cluster: Zones) -> None:
    graph = spec("moving", far=node("Double", scaling={"replicas": 2}, placement=SOUTH_WEST))
    graph["spec"] |= {"scaling": {"replicas": 2}, "placement": SOUTH_WEST}
    cluster.require(cluster.south, "CPU=4")
    cluster.require(cluster.west, "CPU=4,fpga=1")
    with cluster.without("moving"):
        cluster.run("deploy", cluster.bundle(graph))
        leaver = cluster.homes("moving")["router"][0]
        (stayer,) = {"south", "west"} - {leaver}
        with cluster.load("moving") as asking:
            cluster.api("POST", f"/nodes/{leaver}/drain")
            until(lambda: leaver not in cluster.nodes(), 180)
            asking.more(100)
        assert asking.found.keys() == {"ok"}, asking.found
        assert cluster.homes("moving") == {"router": [stayer] * 2, "far": [stayer] * 2}
    machine = cluster.south if leaver == "south" else cluster.west
    machine.run("anabranch", "leave")
