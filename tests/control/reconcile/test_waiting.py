"""What replicas wait for, from what Serve says of them and what Ray has not placed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from anabranch.control.nodes.node import ClusterLook, Demand
from anabranch.control.reconcile import waiting
from anabranch.control.reconcile.waiting import UnplacedReplicas, Waits
from anabranch.errors import Unavailable
from tests.control.nodes.machines import node

GPU = {"num_cpus": 0, "num_gpus": 1, "accelerator_type": "H100"}
WANTED = Demand({"GPU": 1.0, "accelerator_type:H100": 0.001}, 1)
HEAD = node("head", total={"CPU": 4.0}, available={"CPU": 4.0})
LONG_AGO = 1000.0


def replica(state: str = "STARTING", node: str | None = None, started: float = LONG_AGO) -> Any:
    return {"state": state, "node_id": node, "start_time_s": started}


def deployment(*replicas: Any, **config: Any) -> dict[str, Any]:
    return {"replicas": replicas, "deployment_config": {"ray_actor_options": GPU, **config}}


def application(**deployments: Any) -> dict[str, Any]:
    return {"digits.r3": {"deployments": deployments}}


class World:
    """A Ray that says what it has not placed, and counts how often it is asked."""

    def __init__(self, *demands: Demand) -> None:
        self.demands = list(demands)
        self.asked = 0
        self.is_away = False
        self.waiting = UnplacedReplicas(self._look)

    def _look(self) -> ClusterLook:
        self.asked += 1
        if self.is_away:
            raise Unavailable("Ray's GCS does not answer")
        return ClusterLook((HEAD,), tuple(self.demands))

    def see(self, applications: Mapping[str, Any]) -> None:
        self.waiting.see(applications)


@pytest.fixture(autouse=True)
def _each_look_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK_S", 0.0)


def test_replicas_that_ray_has_not_placed_wait_with_their_reason() -> None:
    world = World(WANTED)
    world.see(application(scorer=deployment(replica("RUNNING", "n"), replica(), replica())))
    found = world.waiting.of("digits", 3, "scorer")
    assert found == Waits(2, "1 GPU of type H100", "no machine has it")
    assert str(found) == "1 GPU of type H100: no machine has it"
    assert world.waiting.counts == {("digits", "3", "scorer"): 2}
    assert world.waiting.told("digits", 3) == (
        "waits for 1 GPU of type H100 for segment 'scorer': no machine has it"
    )
    assert world.waiting.told("digits", 4) == ""
    assert world.waiting.of("digits", 3, "other") is None


@pytest.mark.parametrize(
    "one",
    [replica(node="n"), replica("RUNNING", "n"), replica("STOPPING"), replica(started=1e12)],
)
def test_ray_is_not_asked_about_replicas_that_have_a_machine_or_are_new(one: Any) -> None:
    world = World(WANTED)
    world.see(application(scorer=deployment(one)))
    assert (world.waiting.counts, world.asked) == ({}, 0)


def test_a_replica_that_ray_has_placed_does_not_wait_though_it_takes_long_to_start() -> None:
    world = World(Demand({"GPU": 2.0}, 1))
    world.see(application(scorer=deployment(replica())))
    assert (world.waiting.counts, world.asked) == ({}, 1)


def test_nothing_waits_once_all_have_a_machine() -> None:
    world = World(WANTED)
    world.see(application(scorer=deployment(replica())))
    assert world.waiting.told("digits", 3)
    world.see(application(scorer=deployment(replica(node="n"))))
    assert world.waiting.told("digits", 3) == ""


def test_what_ray_said_before_holds_while_it_does_not_answer() -> None:
    world = World(WANTED)
    world.see(application(scorer=deployment(replica())))
    world.is_away = True
    world.see(application(scorer=deployment(replica(), replica())))
    assert world.waiting.counts == {("digits", "3", "scorer"): 1}


def test_segments_of_a_revision_are_told_together() -> None:
    alone = {"ray_actor_options": {"num_cpus": 0}, "max_replicas_per_node": 1}
    world = World(WANTED, Demand({"node:__internal_implicit_resource_digits.r3:net": 1.0}, 1))
    world.see(application(scorer=deployment(replica()), net=deployment(replica(), **alone)))
    assert world.waiting.told("digits", 3) == (
        "waits for a machine for segment 'net': each machine that could take it has one already "
        "(`spread: node`); waits for 1 GPU of type H100 for segment 'scorer': no machine has it"
    )


def test_ray_is_asked_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK_S", 1000.0)
    world = World(WANTED)
    for _ in range(3):
        world.see(application(scorer=deployment(replica())))
    assert world.asked == 1
    assert world.waiting.counts
    world.see({})
    assert world.waiting.counts == {}
