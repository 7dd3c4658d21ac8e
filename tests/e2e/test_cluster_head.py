"""The head machine is lost, or its GCS: the other machines go on answering."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.clusters import CLIENTS, Cluster
from tests.e2e.test_cluster_lost import SPEC, deploy, ids
from tests.e2e.test_cluster_nodes import ROOM
from tests.engines import done
from tests.machines import Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

ONCE = SPEC.replace(", idempotent: true, retries: 5", "").replace(", idempotent: true", "")
"""The same without what may be called twice."""
AWAY_S = 75.0
"""Longer than the minute for which Ray's processes wait for the GCS where nobody tells them."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        one = Cluster([network.machine(name) for name in ("one", "two", "three")])
        one.up("--resources", "CPU=0")
        for machine in one.machines[1:]:
            done(one.join(machine, *ROOM))
        deploy(one, "pair", cpu=2, replicas=2)
        until(lambda: one.running("pair", "far") == 2)
        for machine in one.machines[1:]:
            until(lambda edge=machine: one.answers("pair", edge), 120)
        yield one


def gcs(cluster: Cluster) -> str:
    """The process of Ray's GCS; empty while there is none."""
    return cluster.head.run("pgrep", "-f", "/gcs_server ").stdout.strip()


def test_the_gcs_of_several_machines_is_killed_and_no_request_fails(cluster: Cluster) -> None:
    nodes, killed = ids(cluster), gcs(cluster)
    with cluster.load("pair", *cluster.machines) as told:
        told.more()
        done(cluster.head.run("kill", "-KILL", killed))
        until(lambda: gcs(cluster) not in ("", killed), 60)
        told.more()
        deploy(cluster, "later", cpu=2, replicas=2)
        told.more()
    print(f"slowest request {told.slowest:.1f} s, {told.found}")
    assert told.found.keys() == {"ok"}, told.found
    assert all(cluster.answers("later", one) for one in cluster.machines)
    assert ids(cluster) == nodes


def test_machines_whose_head_is_gone_go_on(cluster: Cluster) -> None:
    deploy(cluster, "once", cpu=1, replicas=2, spec=ONCE)
    others = cluster.machines[1:]
    for machine in others:
        until(lambda edge=machine: cluster.answers("once", edge), 120)
    with cluster.load("pair", *others) as told, cluster.load("once", *others) as once:
        told.more()
        once.more()
        cluster.head.switch_off()
        began = time.monotonic()
        told.more()
        once.more()
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        told.more()
        once.more()
    print(f"slowest request {told.slowest:.1f} s, {told.found}, {once.found}")
    assert told.found.keys() == {"ok"}, told.found
    assert once.found.total() - once.found["ok"] <= CLIENTS, once.found
