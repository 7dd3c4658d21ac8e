"""The head machine is lost, or its GCS: the other machines go on answering."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.clusters import CLIENTS, PARTS, ROOM, Cluster
from tests.e2e.test_cluster_lost import SPEC, both_run, deploy, ids
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
        until(lambda: both_run(one))
        answered(one, "pair")
        yield one


def answered(cluster: Cluster, name: str) -> None:
    """Wait until the edges of all machines answer for a graph."""
    for machine in cluster.machines:
        until(lambda edge=machine: cluster.answers(name, edge), 120)


def gcs(cluster: Cluster) -> str:
    """The process of Ray's GCS; empty while there is none."""
    return cluster.head.run("pgrep", "-f", "/gcs_server ").stdout.strip()


def test_the_gcs_of_several_machines_is_killed_and_no_request_fails(cluster: Cluster) -> None:
    before, killed = ids(cluster), gcs(cluster)
    with cluster.load("pair", *cluster.machines) as asking:
        asking.more()
        done(cluster.head.run("kill", "-KILL", killed))
        until(lambda: gcs(cluster) not in ("", killed), 60)
        asking.more()
        deploy(cluster, "later", cpu=2, replicas=2)
        asking.more()
    print(f"slowest request {asking.slowest:.1f} s, {asking.found}")
    assert asking.found.keys() == {"ok"}, asking.found
    answered(cluster, "later")
    assert ids(cluster) == before


def test_machines_whose_head_is_gone_go_on(cluster: Cluster) -> None:
    text = ONCE.replace("NAME", "once").replace("CPU", "1").replace("REPLICAS", "2")
    cluster.deploy("once", text, parts=PARTS)
    answered(cluster, "once")
    others = cluster.machines[1:]
    with cluster.load("pair", *others) as asking, cluster.load("once", *others) as once:
        asking.more()
        once.more()
        cluster.head.switch_off()
        began = time.monotonic()
        asking.more()
        once.more()
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        asking.more()
        once.more()
    print(f"slowest request {asking.slowest:.1f} s, {asking.found}, {once.found}")
    assert asking.found.keys() == {"ok"}, asking.found
    assert once.found.total() - once.found["ok"] <= CLIENTS, once.found
