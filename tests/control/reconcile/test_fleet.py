"""Replicas as metrics, from what Serve says of its applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve._private.common import ReplicaState

from anabranch.control.reconcile.fleet import Fleet
from anabranch.telemetry.definitions import COLD_STARTS, REPLICAS
from anabranch.telemetry.registry import Registry


def deployment(*states: str, status: str = "HEALTHY") -> dict[str, Any]:
    return {"status": status, "replicas": [{"state": ReplicaState(state)} for state in states]}


def router(revision: int, *states: str) -> dict[str, Any]:
    variables = {"env_vars": {"ANABRANCH_REVISION": str(revision)}}
    config = {"ray_actor_options": {"runtime_env": variables}}
    return {"deployments": {"router": {**deployment(*states), "deployment_config": config}}}


class World:
    def __init__(self) -> None:
        self.registry = Registry()
        self.fleet = Fleet(self.registry)

    def see(
        self, waiting: Mapping[tuple[str, str, str], int] = {}, **segments: Mapping[str, Any]
    ) -> None:
        """Look at the segments of revision 3."""
        self.fleet.see({"digits.r3": {"deployments": segments}}, waiting)

    def replicas(self, segment: str) -> dict[str, float]:
        cells = self.registry.snapshot().get(REPLICAS.name, {})
        return {
            labels[3]: value  # type: ignore[misc]
            for labels, value in cells.items()
            if labels[:3] == ("digits", "3", segment)
        }

    def cold_starts(self) -> float:
        cells = self.registry.snapshot().get(COLD_STARTS.name, {})
        return cells.get(("digits", "3", "net"), 0)  # type: ignore[return-value]


def test_replicas_are_counted_by_state() -> None:
    world = World()
    world.see(net=deployment("RUNNING", "RUNNING", "STOPPING"), tree=deployment("STARTING"))
    assert world.replicas("net") == {"running": 2, "starting": 0, "stopping": 1}
    assert world.replicas("tree") == {"running": 0, "starting": 1}


def test_replicas_that_wait_for_a_machine_are_counted_among_those_that_start() -> None:
    world = World()
    world.see({("digits", "3", "net"): 1}, net=deployment("STARTING", "STARTING"))
    assert world.replicas("net") == {"running": 0, "starting": 2, "waiting": 1}
    world.see(net=deployment("RUNNING", "RUNNING"))
    assert world.replicas("net") == {"running": 2, "starting": 0}


def test_a_state_that_no_replica_is_in_any_more_is_gone() -> None:
    world = World()
    world.see(net=deployment("RUNNING", "STOPPING"))
    world.see(net=deployment())
    assert world.replicas("net") == {"running": 0, "starting": 0}
    world.see()
    assert world.replicas("net") == {}


def test_the_head_is_a_segment_in_the_router_and_outside() -> None:
    world = World()
    world.fleet.see(
        {
            "digits": router(3, "RUNNING", "STARTING"),
            "digits.r3.head": {"deployments": {"head": deployment("RUNNING")}},
            "anabranch.gateway": {"deployments": {"gateway": deployment("RUNNING")}},
        },
        {},
    )
    assert world.replicas("head") == {"running": 2, "starting": 1}
    assert len(world.registry.snapshot()[REPLICAS.name]) == 2


def test_a_start_from_zero_is_cold() -> None:
    world = World()
    world.see(net=deployment("STARTING", status="UPDATING"))
    world.see(net=deployment("RUNNING"))
    assert world.cold_starts() == 0
    world.see(net=deployment("STOPPING", status="DOWNSCALING"))
    world.see(net=deployment())
    world.see(net=deployment("STARTING", status="UPSCALING"))
    assert world.cold_starts() == 1
    world.see(net=deployment("RUNNING", "STARTING"))
    assert world.cold_starts() == 1


def test_one_that_waits_for_its_replica_was_asleep_all_the_time() -> None:
    world = World()
    world.see(net=deployment())
    world.see(net=deployment(status="UPSCALING"))
    world.see(net=deployment("STARTING", status="UPSCALING"))
    assert world.cold_starts() == 1


def test_a_first_start_is_none() -> None:
    world = World()
    world.see(net=deployment(status="UPDATING"))
    world.see(net=deployment("STARTING", status="UPDATING"))
    assert world.cold_starts() == 0
