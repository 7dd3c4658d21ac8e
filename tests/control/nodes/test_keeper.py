"""The keeper has machines get what they need, whatever fails in between."""

from __future__ import annotations

import logging
import time

import pytest

from anabranch.control.nodes.ingress import AGENT, FACES, named
from anabranch.control.nodes.keeper import MachineKeeper
from anabranch.control.nodes.node import ClusterLook, Node
from anabranch.control.settings.ingress import Ingress
from anabranch.errors import Unavailable
from anabranch.serve.replicas.edge import EDGE_ACTOR
from tests.control.nodes.machines import HEAD, THREE, TWO, numbered


class Cluster:
    """Ray, as far as the keeper has to do with it."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.is_away = False
        self.runs = set(FACES)
        self.failing: set[str] = set()
        self.closing: list[str] = []
        self.is_quiet = False
        self.is_autoscaled = False
        self.busy: set[str] | None = None

    def look(self) -> ClusterLook:
        if self.is_away:
            raise Unavailable("Ray's GCS does not answer")
        return ClusterLook(self.nodes, is_autoscaled=self.is_autoscaled)

    def running(self) -> set[str]:
        return set(self.runs)

    def start(self, kind: str, node: Node) -> None:
        name = named(kind, node)
        assert name not in self.runs
        if kind in self.failing:
            raise RuntimeError("no room")
        self.runs.add(name)

    def stop(self, name: str) -> None:
        if name in self.failing:
            raise RuntimeError("it does not end")
        self.runs.remove(name)

    def has_closed(self, name: str) -> bool:
        self.closing.append(name)
        return self.is_quiet


def names(*nodes: Node) -> set[str]:
    return {*FACES, *(named(kind, node) for node in nodes for kind in (AGENT, *FACES))}


def test_machines_that_come_and_go_get_and_lose_what_is_theirs() -> None:
    cluster = Cluster(HEAD)
    keeper = MachineKeeper(cluster, cluster, Ingress())
    for nodes in ((HEAD,), (HEAD, TWO), (HEAD, TWO, THREE), (HEAD, THREE)):
        cluster.nodes = nodes
        keeper.round()
        assert keeper.present == nodes
        assert cluster.runs == names(*nodes[1:])
    cluster.nodes = (HEAD, numbered(3, state="lost"))
    keeper.round()
    assert (keeper.present, cluster.runs) == ((HEAD,), names())


def test_what_fails_keeps_nothing_else_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster(HEAD, TWO, THREE)
    keeper = MachineKeeper(cluster, cluster, Ingress())
    cluster.failing = {FACES[0]}
    keeper.round()
    assert cluster.runs == names(TWO, THREE) - {named(FACES[0], one) for one in (TWO, THREE)}
    assert f"cannot start {FACES[0]} on machine m2" in caplog.text
    cluster.failing = {named(AGENT, THREE)}
    cluster.nodes = (HEAD, TWO)
    keeper.round()
    assert cluster.runs == {*names(TWO), named(AGENT, THREE)}
    cluster.failing = set()
    keeper.round()
    assert cluster.runs == names(TWO)


def test_while_nobody_knows_the_machines_all_stays_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Cluster(HEAD, TWO)
    keeper = MachineKeeper(cluster, cluster, Ingress())
    keeper.round()
    cluster.is_away = True
    keeper.round()
    assert (keeper.present, cluster.runs) == ((HEAD, TWO), names(TWO))
    assert "machines are not known now" in caplog.text


@pytest.mark.parametrize("ends_in", [None, 60.0])
def test_an_edge_closes_on_a_machine_that_is_drained_and_stops_once_it_is_quiet(
    ends_in: float | None,
) -> None:
    cluster = Cluster(HEAD, TWO)
    keeper = MachineKeeper(cluster, cluster, Ingress())
    keeper.round()
    deadline = None if ends_in is None else time.time() + ends_in
    going = numbered(2, state="draining", deadline=deadline)
    edge = named(EDGE_ACTOR, going)
    cluster.nodes = (HEAD, going)
    keeper.round()
    assert (cluster.runs, cluster.closing) == (names(TWO), [edge])
    cluster.is_quiet = True
    keeper.round()
    assert cluster.runs == names(TWO) - {edge}
    keeper.round()
    assert cluster.runs == {*FACES, named(AGENT, going)}
    assert cluster.closing == [edge, edge]


def test_a_machine_that_no_replica_is_on_is_left_to_the_autoscaler() -> None:
    cluster = Cluster(HEAD, TWO, THREE)
    cluster.is_autoscaled = True
    keeper = MachineKeeper(cluster, cluster, Ingress(), busy=lambda: cluster.busy)
    keeper.round()
    assert cluster.runs == names(TWO, THREE)  # nobody knows yet what is there
    cluster.busy = {THREE.id}
    keeper.round()
    assert keeper.present == (HEAD, THREE)
    assert cluster.closing == [named(EDGE_ACTOR, TWO)]
    assert cluster.runs == names(TWO, THREE) - {named(AGENT, TWO)}
    cluster.is_quiet = True
    keeper.round()
    keeper.round()
    assert cluster.runs == names(THREE)
    cluster.busy = {TWO.id, THREE.id}
    keeper.round()
    assert cluster.runs == names(TWO, THREE)


def test_machines_that_somebody_adds_by_hand_are_all_the_engine_s() -> None:
    cluster = Cluster(HEAD, TWO)
    keeper = MachineKeeper(cluster, cluster, Ingress(), busy=set)
    keeper.round()
    assert cluster.runs == names(TWO)


def test_an_edge_stops_before_its_machine_does() -> None:
    cluster = Cluster(HEAD, TWO)
    keeper = MachineKeeper(cluster, cluster, Ingress())
    keeper.round()
    going = numbered(2, state="draining", deadline=time.time() + 5)
    cluster.nodes = (HEAD, going)
    keeper.round()
    assert cluster.runs == names(TWO) - {named(EDGE_ACTOR, going)}
