"""An engine that machines join: they do its work, and leave it again. By day, it is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from tests.clusters import CHAIN_BODY, PARTS, ROOM, VALUES, Cluster, chain, write_chain
from tests.e2e.conftest import value
from tests.engines import done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MANY = 160
"""Requests before and after a change, at least."""


def two(cpu: int) -> dict[str, dict[str, int]]:
    """The resources of two segments that want so many processors each."""
    return {"double": {"cpu": cpu}, "shift": {"cpu": cpu}}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as one:
        yield one


@pytest.fixture(scope="module")
def cluster(network: Network) -> Cluster:
    one = Cluster([network.machine(name) for name in ("one", "two")])
    one.up("--resources", "CPU=0")
    done(one.join(one.machines[1], *ROOM, "--labels", "zone=north"))
    return one


@pytest.fixture(scope="module")
def wide(cluster: Cluster, network: Network) -> Cluster:
    """The engine with another machine."""
    three = network.machine("three")
    cluster.machines.append(three)
    done(cluster.join(three, *ROOM, "--labels", "zone=south"))
    return cluster


def nodes(cluster: Cluster, machine: Machine) -> dict[str, Any]:
    """Machines by their names, as the command shows them on one of them."""
    told = json.loads(cluster.run("nodes", "-o", "json", machine=machine))
    return {one["name"]: one for one in told["nodes"]}


def check_deployed(cluster: Cluster, name: str, cpu: int, folder: Path) -> None:
    """Deploy a graph; each edge answers as the same graph does in this process."""
    cluster.deploy(name, chain(name, **two(cpu)), parts=PARTS)
    expected = Graph.load(write_chain(folder, name, **two(cpu))).run({"x": VALUES})["y"]
    for machine in cluster.machines:
        until(lambda at=machine: cluster.is_ready(at))
        until(lambda at=machine: cluster.answers(name, at, CHAIN_BODY))  # it hears of it later
        found = value(cluster.infer(name, machine, CHAIN_BODY))
        assert np.array_equal(np.float32(found).reshape(2, 2), expected)
        assert cluster.call(name, machine) == expected[0].tolist()


def test_a_machine_that_has_joined_does_what_only_it_can(cluster: Cluster, tmp_path: Path) -> None:
    found = nodes(cluster, cluster.head)
    assert found.keys() >= {"one", "two"} and found["one"]["head"]
    assert {one["state"] for one in found.values()} == {"alive"}
    assert found["two"]["labels"] == {"zone": "north"}
    assert found["two"]["resources"]["CPU"]["total"] == 6.0
    # A machine of an engine is as good a place for its commands as the head.
    assert list(nodes(cluster, cluster.machines[1])) == list(found)

    with cluster.without("there"):
        check_deployed(cluster, "there", 2, tmp_path)
        homes = cluster.homes("there")
        assert "one" not in homes["double"] + homes["shift"]


@pytest.mark.nightly
def test_machines_that_have_joined_do_what_none_can_alone(wide: Cluster, tmp_path: Path) -> None:
    found = nodes(wide, wide.head)
    assert list(found) == ["one", "three", "two"]
    assert found["three"]["labels"] == {"zone": "south"}
    with wide.without("spread"):
        check_deployed(wide, "spread", 4, tmp_path)
        homes = wide.homes("spread")
        assert sorted(homes["double"] + homes["shift"]) == ["three", "two"]


def test_who_may_not_join_is_told_why(cluster: Cluster) -> None:
    two = cluster.machines[1]
    down = two.run("anabranch", "down")
    assert down.returncode == 1 and "`anabranch leave`" in down.stderr
    again = cluster.join(two, *ROOM)
    assert again.returncode == 1 and "already: `anabranch leave`" in again.stderr
    elsewhere = f"{HOME}/elsewhere"
    refused = cluster.join(two, *ROOM, "--home", elsewhere, key="wrong")
    assert refused.returncode == 1 and "key" in refused.stderr
    twice = cluster.join(two, *ROOM, "--home", elsewhere)
    assert twice.returncode == 1 and "is a machine of this engine already, 'two'" in twice.stderr
    assert not two.path(f"{elsewhere}/engine.json").exists()


@pytest.mark.nightly
def test_a_machine_leaves_under_load_and_no_request_fails(wide: Cluster) -> None:
    with wide.without("moving"):
        wide.deploy("moving", chain("moving", **two(2)), parts=PARTS)
        home = wide.homes("moving")["double"]
        leaver = next(one for one in wide.machines if [one.name] == home)
        (stayer,) = {"two", "three"} - {leaver.name}
        with wide.load("moving") as asking:
            asking.more(MANY)
            done(leaver.run("anabranch", "leave"))
            asking.more(MANY)
        assert asking.found.keys() == {"ok"}, asking.found
        homes = wide.homes("moving")
        assert homes["double"] == homes["shift"] == [stayer]
        assert list(nodes(wide, wide.head)) == ["one", stayer]
        assert not leaver.path(f"{HOME}/.anabranch/engine.json").exists()
        assert not any(leaver.path("/tmp").glob("anab-*"))
        left = leaver.run("ps", "-eo", "args").stdout
        assert "raylet" not in left and "anabranch." not in left
        done(wide.join(leaver, *ROOM))
        assert wide.nodes().keys() == {"one", "two", "three"}


@pytest.mark.nightly
def test_a_process_that_is_stopped_on_a_machine_that_has_joined_is_ended_there(
    cluster: Cluster,
) -> None:
    """By the machine's own supervisor, long before Serve would find it."""
    with cluster.without("halted"):
        cluster.deploy("halted", chain("halted", **two(2)), parts=PARTS)
        (name,) = cluster.homes("halted")["double"]
        machine = next(one for one in cluster.machines if one.name == name)
        assert machine is not cluster.head
        replica = "^ray::ServeReplica:halted.r1:double"
        until(lambda: machine.run("pkill", "-STOP", "-f", replica).returncode == 0)
        log = machine.path(f"{HOME}/.anabranch/logs/supervisor.log")
        until(lambda: "halted" in log.read_text())
        until(lambda: cluster.answers("halted", cluster.head), 120)


@pytest.mark.nightly
def test_machines_join_an_engine_again_whose_ray_was_started_anew(cluster: Cluster) -> None:
    """The GCS that knew them is gone with all that it knew."""
    cluster.deploy("again", chain("again", **two(2)), parts=PARTS)
    before = {name: one["id"] for name, one in cluster.nodes().items()}
    done(cluster.head.run("pkill", "-KILL", "-f", "control.engine.head"))

    def are_back() -> bool:
        told = cluster.head.run("anabranch", "nodes", "-o", "json")
        found = json.loads(told.stdout)["nodes"] if told.returncode == 0 else []
        return {one["name"] for one in found if before[one["name"]] != one["id"]} == before.keys()

    until(are_back, 240)
    until(lambda: cluster.infer("again").status_code == 200, 240)
    done(cluster.head.run("anabranch", "delete", "again", "--yes"))
