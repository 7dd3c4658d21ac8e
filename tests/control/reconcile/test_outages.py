"""Segments that are down, from what Serve says of its applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState

from anabranch.access.actor import ENGINE
from anabranch.control.reconcile.outages import Outage, Outages
from anabranch.control.store.records import Event
from anabranch.errors import StorageError
from anabranch.telemetry.definitions import SEGMENT_DOWN
from anabranch.telemetry.registry import Registry
from tests.control.reconcile.test_fleet import router

PLACE = ("digits", "3", "net")


def deployment(
    status: str, *replicas: str, node: str = "n1", message: str = "", trigger: str = "UNSPECIFIED"
) -> dict[str, Any]:
    return {
        "status": DeploymentStatus(status),
        "status_trigger": DeploymentStatusTrigger(trigger),
        "message": message,
        "replicas": [{"state": ReplicaState(state), "node_id": node} for state in replicas],
    }


class World:
    """What Serve says of the segment ``net`` of revision 3, in time that tests make pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alive = {"n1", "n2"}
        self.told: list[tuple[Any, ...]] = []
        self.full = False
        self.registry = Registry()
        self.up = {("digits", 3)}
        self.begin()

    def begin(self) -> None:
        """Have a controller that is new."""
        self.outages = Outages(
            self, self._past, lambda: self.alive, self.registry, lambda: self.now
        )

    def log(self, *event: Any) -> None:
        if self.full:
            raise StorageError("the disk is full")
        self.told.append(event)

    def _past(self, graph: str, revision: int) -> list[Event]:
        """The events of a revision, each a second after the other."""
        return [
            Event(n, 100.0 + n, *event, {}, ENGINE, "")
            for n, event in enumerate(self.told)
            if event[:2] == (graph, revision)
        ]

    def see(self, *found: Mapping[str, Any]) -> Outage | None:
        """Look a second later, at a deployment or none; return its outage."""
        self.now += 1
        segments = {"net": found[0]} if found else {}
        self.outages.see({"digits.r3": {"deployments": segments}}, self.up)
        return self.outages.of("digits", 3).get("net")

    def gauge(self) -> Any:
        return self.registry.snapshot().get(SEGMENT_DOWN.name, {}).get(PLACE)


def test_a_segment_that_has_lost_its_replicas_is_down_until_it_has_one_again() -> None:
    world = World()
    assert world.see(deployment("HEALTHY", "RUNNING", "RUNNING")) is None
    assert world.gauge() == 0
    assert world.see(deployment("HEALTHY", "RUNNING", "STOPPING")) is None
    assert world.see(deployment("UNHEALTHY", "STOPPING", message="health check failed")) == Outage(
        103.0, "health check failed"
    )
    assert world.gauge() == 1
    # The time stays; what Serve says may change.
    assert world.see(deployment("UNHEALTHY", "STARTING", message="no room")) == Outage(
        103.0, "no room"
    )
    assert world.see(deployment("UNHEALTHY", "STARTING", "RUNNING")) is None
    assert world.gauge() == 0
    reason = "health check failed"
    assert world.told == [
        ("digits", 3, "segment_down", f"segment 'net' has no healthy replica: {reason}",
         {"segment": "net", "reason": reason}),
        ("digits", 3, "segment_up", "segment 'net' is no longer down, after 2s",
         {"segment": "net", "reason": "no room", "seconds": 2.0}),
    ]  # fmt: skip


def test_what_could_not_be_kept_is_told_the_next_time() -> None:
    world = World()
    looks = deployment("HEALTHY", "RUNNING"), deployment("UNHEALTHY", "STOPPING")
    world.see(looks[0])
    for look, kind in ((looks[1], "segment_down"), (looks[0], "segment_up")):
        world.full = True
        for _ in range(2):
            with pytest.raises(StorageError):
                world.see(look)
        world.full = False
        world.see(look)
        world.see(look)
        assert world.told.pop()[2] == kind
        assert world.told == []


def test_it_says_that_the_node_is_lost() -> None:
    world = World()
    world.see(deployment("HEALTHY", "RUNNING", node="n2"))
    assert world.see(deployment("UNHEALTHY", "STOPPING", message="m")) == Outage(102.0, "m")
    world.alive = {"n1"}
    assert world.see(deployment("UNHEALTHY", "STARTING", message="m")) == Outage(
        102.0, "its node is lost"
    )
    world.alive = {"n1", "n2"}
    assert world.see(deployment("UNHEALTHY", "STARTING", message="m")) == Outage(102.0, "m")


@pytest.mark.parametrize(
    "looks",
    [
        [("UPDATING", "STARTING"), ("UPDATING", "STARTING")],
        [("UPDATING",), ("UPDATING", "STARTING")],
        [("HEALTHY", "RUNNING"), ("DOWNSCALING", "RUNNING"), ("HEALTHY",), ("HEALTHY",)],
        [("HEALTHY",), ("UPSCALING", "STARTING"), ("HEALTHY", "RUNNING")],
        [("HEALTHY", "RUNNING"), ("UPDATING", "RUNNING", "STARTING"), ("UPDATING", "RUNNING")],
    ],
    ids=["starts", "begins", "goes to sleep", "wakes", "is replaced"],
)
def test_what_is_no_outage(looks: list[tuple[str, ...]]) -> None:
    world = World()
    assert [world.see(deployment(*look)) for look in looks] == [None] * len(looks)
    assert world.told == []


def test_a_segment_whose_last_replica_is_ending_to_sleep_is_not_down() -> None:
    world = World()
    world.see(deployment("HEALTHY", "RUNNING"))
    for status in ("DOWNSCALING", "HEALTHY"):
        going = {**deployment(status, "STOPPING"), "target_num_replicas": 0}
        assert world.see(going) is None
    assert world.see(deployment("UPSCALING", "STARTING")) is None
    assert world.told == []


def test_a_sleeping_segment_that_cannot_start_is_down() -> None:
    world = World()
    world.see(deployment("HEALTHY"))
    assert world.see(deployment("UPSCALING", "STARTING")) is None
    assert world.see(deployment("UNHEALTHY", "STARTING", message="a\nb")) == Outage(103.0, "b")


def test_what_serve_says_counts_for_a_controller_that_is_new() -> None:
    assert World().see(deployment("UNHEALTHY", "STARTING")) == Outage(101.0, "")


def test_an_outage_goes_on_for_a_controller_that_is_new() -> None:
    world = World()
    world.see(deployment("HEALTHY", "RUNNING"))
    world.see(deployment("UNHEALTHY", "STARTING"))
    world.begin()
    assert world.see(deployment("UNHEALTHY", "STARTING")) == Outage(100.0, "")
    assert world.see(deployment("HEALTHY", "RUNNING")) is None
    world.begin()
    assert world.see(deployment("UNHEALTHY", "STARTING")) == Outage(105.0, "")
    assert [event[2] for event in world.told] == ["segment_down", "segment_up", "segment_down"]


def test_a_revision_that_does_not_come_up_is_no_outage() -> None:
    world = World()
    world.up = set()
    assert world.see(deployment("DEPLOY_FAILED", "STARTING")) is None
    assert (world.told, world.gauge()) == ([], None)


def test_a_head_that_is_in_the_router_too_is_up_while_either_runs() -> None:
    world = World()
    found = router(3)
    found["deployments"]["router"] |= deployment("HEALTHY", "RUNNING")
    own = {"deployments": {"head": deployment("HEALTHY", "RUNNING")}}
    for last in (
        {"digits": found, "digits.r3.head": own},
        {"digits.r3.head": own, "digits": found},
    ):
        own["deployments"]["head"] = deployment("HEALTHY", "RUNNING")
        world.outages.see(last, world.up)
        own["deployments"]["head"] = deployment("UNHEALTHY", "STOPPING")
        world.outages.see(last, world.up)
        assert world.outages.now == {}


def test_a_segment_that_is_to_go_is_not_down_and_leaves_no_event() -> None:
    world = World()
    world.see(deployment("HEALTHY", "RUNNING"))
    assert world.see(deployment("UNHEALTHY", "STOPPING")) is not None
    assert world.see(deployment("UPDATING", "STOPPING", trigger="DELETING")) is None
    assert world.see() is None
    assert world.gauge() is None
    assert [event[2] for event in world.told] == ["segment_down"]


def test_a_router_is_the_head_of_the_revision_that_it_carries() -> None:
    world = World()
    found = router(3)
    found["deployments"]["router"] |= deployment("HEALTHY", "RUNNING")
    world.outages.see({"digits": found}, world.up)
    found["deployments"]["router"] |= deployment("UNHEALTHY", "STARTING")
    world.outages.see({"digits": found}, world.up)
    assert set(world.outages.of("digits", 3)) == {"head"}
    assert world.outages.of("digits", 4) == {}
    assert world.outages.of("other", 3) == {}
