"""The cluster as Ray's GCS tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.core.generated import autoscaler_pb2

from anabranch.control.nodes.cluster import RayCluster
from anabranch.serve.attachment import HOME_NODE


@dataclass
class FakeGcs:
    """A GCS that knows no machine but by its type, and what the first autoscaler told last."""

    types: tuple[str, ...] = ()
    report: Any = None
    asked: list[bytes] = field(default_factory=list)

    def get_all_node_info(self, timeout: float) -> dict[bytes, Any]:
        return {}

    def get_cluster_resource_state(self) -> bytes:
        reply = autoscaler_pb2.GetClusterResourceStateReply()  # type: ignore[attr-defined]
        for name in self.types:
            reply.cluster_resource_state.node_states.add(ray_node_type_name=name)
        return bytes(reply.SerializeToString())

    def get_draining_nodes(self, timeout: float) -> dict[bytes, int]:
        return {}

    def internal_kv_get(self, key: bytes, namespace: bytes | None, timeout: float) -> bytes | None:
        self.asked.append(key)
        return None if self.report is None else json.dumps(self.report).encode()


@pytest.fixture(autouse=True)
def attached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_NODE, "ab")


def look(gcs: FakeGcs, may_grow: bool = False) -> bool:
    cluster = RayCluster(may_grow)
    cluster._client = gcs
    return cluster.look().may_grow


def report(**nodes: Any) -> dict[str, Any]:
    return {"autoscaler_report": nodes, "time": 1.0}


@pytest.mark.parametrize(
    "gcs",
    [
        FakeGcs(),
        FakeGcs(("", "")),
        FakeGcs(("node_ab", "node_cd")),
        FakeGcs(report={}),
        FakeGcs(report={"autoscaler_report": None}),
        FakeGcs(report=report(active_nodes={"node_ab": 1}, idle_nodes=None)),
    ],
)
def test_an_autoscaler_that_only_looks_on_adds_no_machine(gcs: FakeGcs) -> None:
    assert not look(gcs)
    assert look(gcs, may_grow=True)


@pytest.mark.parametrize(
    "gcs",
    [
        FakeGcs(("headgroup", "")),
        FakeGcs(report=report(active_nodes={"ray.head.default": 1}, idle_nodes={})),
        FakeGcs(report=report(active_nodes={}, idle_nodes={"ray.head.default": 1})),
    ],
)
def test_an_autoscaler_that_knows_types_of_machines_may_add_some(gcs: FakeGcs) -> None:
    assert look(gcs)
    assert gcs.asked == [b"__autoscaling_status"]


def test_groups_of_kuberay_s_pods_tell_of_no_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_KUBERAY_IN_USE", "1")
    assert not look(FakeGcs(("headgroup", "workers")))
    assert look(FakeGcs(report=report(active_nodes={"headgroup": 1})))


def test_a_ray_of_the_engine_s_own_has_no_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although KubeRay names the group of each pod."""
    monkeypatch.delenv(HOME_NODE)
    gcs = FakeGcs(("headgroup", "workers"))
    assert not look(gcs)
    assert look(gcs, may_grow=True)
