"""Replicas as the control API shows them, from Serve's details."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anabranch.control.api.replicas import replicas_view
from tests.control.control_api import TestControl


def replica(name: str, state: str = "RUNNING", **fields: Any) -> dict[str, Any]:
    known = {"replica_id": name, "state": state, "pid": 7, "node_ip": "10.0.0.1"}
    return {**known, "start_time_s": 1e9, **fields}


def app(**deployments: dict[str, Any]) -> dict[str, Any]:
    return {"status": "RUNNING", "deployments": deployments}


APPS = {
    "digits": app(router={"replicas": [replica("a")]}),
    "digits.r3": app(
        net={
            "replicas": [replica("c", "STARTING", pid=None, start_time_s=None), replica("b")],
            "recent_dead_replicas": [replica("old"), replica("b")],
        }
    ),
    "digit.r3": app(net={"replicas": [replica("x")]}),
    "anabranch.gateway": app(gateway={"replicas": [replica("y")]}),
}


def test_the_replicas_of_all_parts_of_a_graph() -> None:
    found = list(replicas_view(APPS, "digits"))
    places = [(one["deployment"], one["revision"], one["replica"], one["state"]) for one in found]
    assert places == [
        ("router", None, "a", "RUNNING"),
        ("net", 3, "c", "STARTING"),
        ("net", 3, "b", "RUNNING"),
        ("net", 3, "old", "DEAD"),
    ]
    assert found[0] == {
        "part": "router", "deployment": "router", "revision": None, "replica": "a",
        "state": "RUNNING", "pid": 7, "node": "10.0.0.1",
        "started_at": "2001-09-09T01:46:40.000+00:00",
    }  # fmt: skip
    assert (found[1]["pid"], found[1]["started_at"]) == (None, None)


def test_a_graph_that_does_not_run_has_none(tmp_path: Path) -> None:
    engine = TestControl(tmp_path)
    engine.up(1)
    assert engine.call("GET", "/graphs/digits/replicas") == (
        200,
        {"graph": "digits", "replicas": []},
    )
    assert engine.call("GET", "/graphs/other/replicas")[0] == 404
