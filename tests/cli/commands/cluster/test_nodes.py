"""``nodes`` against the control API, over machines of values."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Served

MACHINE = {
    "name": "two", "id": "n2", "machine": "m2", "address": "10.0.0.3", "head": False,
    "state": "alive", "since": "2026-01-31T12:00:00+00:00", "labels": {},
    "segments": [{"graph": "g", "revision": 1, "deployment": "y", "replicas": 1}],
    "resources": {"CPU": {"total": 8.0, "used": 0.0}}, "ingress": False,
}  # fmt: skip
NODES = {"nodes": [MACHINE], "pending": [], "waiting": []}


@pytest.fixture
def played(engine: Served) -> Served:
    engine.graphs["GET /control/v1/nodes"] = NODES
    engine.graphs["POST /control/v1/nodes/two/drain"] = MACHINE
    return engine


def test_the_machines_are_listed(played: Served) -> None:
    assert "two   10.0.0.3  alive" in played.text("nodes")
    assert played.json("nodes") == NODES


def test_a_machine_is_drained_once_nothing_is_left_on_it(played: Served) -> None:
    played.graphs["GET /control/v1/nodes"] = {**NODES, "nodes": [MACHINE | {"segments": []}]}
    assert played.text("nodes", "drain", "two").strip() == "two is drained"
    assert played.json("nodes", "drain", "two") == {"node": "two", "state": "drained"}


def test_what_cannot_move_is_told_with_what_is_missing(played: Served) -> None:
    wanted = {"resources": {"CPU": 4.0}, "labels": {}, "count": 1}
    played.graphs["GET /control/v1/nodes"] = {**NODES, "pending": [wanted]}
    done = played.run("nodes", "drain", "two", "--timeout", "0s")
    assert done.exit_code == 1
    assert str(done.exception) == (
        "machine 'two' still has replicas of g (y) after 0 s; no other machine has 4 CPU free"
    )


def test_requests_that_are_under_way_at_its_edge_are_waited_for(played: Served) -> None:
    closing = MACHINE | {"segments": [], "ingress": True}
    played.graphs["GET /control/v1/nodes"] = {**NODES, "nodes": [closing]}
    done = played.run("nodes", "drain", "two", "--timeout", "0s")
    assert done.exit_code == 1
    assert "requests are still under way at its edge" in done.stderr
    assert str(done.exception) == "machine 'two' still has requests under way after 0 s"
