"""Two machines of one engine: requests, logs and metrics at each, wherever the replicas are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters import Cluster
from tests.e2e.conftest import node, spec, value
from tests.engines import done
from tests.machines import Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
import os

import numpy as np


class Where:
    '''Adds the number of its machine to what it gets.'''

    def transform(self, x):
        host = os.uname().nodename
        print("asked on", host, flush=True)
        return x + {"one": 1, "two": 2}[host]
"""
ADDED = {"near": 1.0, "far": 2.0}
"""What graphs add: the number of the machine that alone has room for the graph's node."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        found = Cluster([network.machine("one"), network.machine("two")])
        found.up("--resources", "CPU=8")
        _, two = found.machines
        done(found.join(two, "--resources", "CPU=4"))
        for name, cpu in (("near", 6), ("far", 3)):
            graph = spec(name, where=node("Where", resources={"cpu": cpu}))
            found.deploy(name, graph, components=CODE)
        until(lambda: _answers(found, two), 120)
        yield found


def _answers(cluster: Cluster, machine: Machine) -> bool:
    return all(cluster.answers(name, machine) for name in ADDED)


def logs(cluster: Cluster, *options: object) -> list[dict[str, Any]]:
    found = cluster.run("logs", "far", "-o", "json", *options)
    return [json.loads(line) for line in found.splitlines()]


def test_the_edge_of_each_machine_answers_wherever_the_replicas_are(cluster: Cluster) -> None:
    """The node of one graph is on the first machine, that of the other on the second."""
    for machine in cluster.machines:
        for name, added in ADDED.items():
            assert value(cluster.infer(name, machine)) == [1.0 + added, 2.0 + added]


def test_both_answer_over_grpc_likewise(cluster: Cluster) -> None:
    for machine in cluster.machines:
        for name, added in ADDED.items():
            assert cluster.call(name, machine) == [1.0 + added, 2.0 + added]


def test_each_is_ready_and_has_the_control_api_and_the_metrics_of_all(cluster: Cluster) -> None:
    for machine in cluster.machines:
        ready = cluster.ask("GET", "/v2/health/ready", machine)
        assert ready.json() == {"live": True, "ready": True}
        graphs = cluster.ask("GET", "/control/v1/graphs", machine).json()["graphs"]
        assert {one["graph"] for one in graphs} == ADDED.keys()
        assert cluster.ask("GET", "/console/", machine).status_code == 200

        def counted(machine: Machine = machine) -> bool:
            text = cluster.ask("GET", "/metrics", machine).text
            return all(
                f'anabranch_node_duration_seconds_count{{graph="{one}"' in text for one in ADDED
            )

        until(counted, 60)


def test_logs_of_all_machines_have_their_names(cluster: Cluster) -> None:
    cluster.infer("far")

    def lines() -> list[dict[str, Any]]:
        return [one for one in logs(cluster) if one["message"] == "asked on two"]

    until(lines, 30)
    assert {one["machine"] for one in lines()} == {"two"}
    assert {one["machine"] for one in logs(cluster, "--machine", "two")} == {"two"}
    assert {one["machine"] for one in logs(cluster, "--machine", cluster.head.address)} <= {"one"}
    unknown = cluster.head.run("anabranch", "logs", "far", "--machine", "three")
    assert unknown.returncode == 1
    assert "no machine of the engine is 'three'; there are: one, two" in unknown.stderr


def test_a_machine_whose_cable_is_pulled_is_named_and_holds_nobody_up(cluster: Cluster) -> None:
    _, two = cluster.machines
    before = logs(cluster, "--machine", "one")
    two.cut()
    try:
        (first, *others) = logs(cluster)
    finally:
        two.mend()
    assert (first["machine"], first["time"]) == ("two", "")
    assert "does not answer" in first["message"]
    assert [line for line in others if line["machine"] == "one"][: len(before)] == before
    until(lambda: _answers(cluster, two), 120)
    until(lambda: any(one["message"] == "asked on two" for one in logs(cluster)), 60)
