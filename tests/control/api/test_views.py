"""What is said of a graph whose routers come and go."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.common import ReplicaState
from ray.serve.schema import ApplicationStatus

from anabranch import Graph
from anabranch.control.api.views import blocked, graph_view, ready_state, segments_view
from anabranch.control.lifecycle.operations import Member, Situation
from anabranch.control.reconcile.outages import Outage
from anabranch.control.store.records import Stored

NOW = Situation("digits", stable=1, members={1: Member(1, "live")})


def apps(status: str, replicas: int, lowest: int | None) -> dict[str, Any]:
    auto = None if lowest is None else {"min_replicas": lowest}
    router = {
        "deployment_config": {"autoscaling_config": auto},
        "replicas": [{"state": ReplicaState.RUNNING}] * replicas,
        "message": "",
    }
    deployments = {"router": router}
    return {
        "digits": {
            "status": ApplicationStatus(status), "deployments": deployments, "message": ""
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "replicas", "lowest", "state", "ready"),
    [
        ("RUNNING", 1, None, "live", True),
        ("RUNNING", 2, 0, "live", True),
        ("RUNNING", 0, 0, "asleep", True),
        ("RUNNING", 0, 1, "deploying", False),
        ("RUNNING", 0, None, "deploying", False),
        ("DEPLOYING", 0, 0, "deploying", False),
        ("UNHEALTHY", 0, 0, "unhealthy", False),
        ("DEPLOY_FAILED", 0, 0, "unhealthy", False),
    ],
)
def test_a_graph_that_sleeps_is_ready(
    status: str, replicas: int, lowest: int | None, state: str, ready: bool
) -> None:
    found = apps(status, replicas, lowest)
    assert graph_view(Stored(NOW, 1), found, "http://a")["state"] == state
    told = ready_state(NOW, found)
    assert told is not None
    assert (told["ready"], told["reason"] == "") == (ready, ready)


def test_a_graph_with_an_output_that_cannot_be_computed_is_not_ready() -> None:
    found = apps("RUNNING", 1, None)
    view = graph_view(Stored(NOW, 1), found, "http://a", "no")
    assert (view["state"], view["obstacle"]) == ("unhealthy", "no")
    told = ready_state(NOW, found, "no")
    assert told is not None
    assert (told["live"], told["ready"], told["reason"]) == (True, False, "no")


def test_what_is_said_of_a_segment_that_is_down() -> None:
    graph = Graph("digits").input("x", "FP32", [-1, 2])
    graph.predictor("near", component="c.py:A", inputs={"x": "x"})
    graph.predictor("far", component="c.py:A", inputs={"x": "x"}, placement={"isolate": True})
    plan = graph.output("y", "near").output("z", "far").plan
    down = {"far": Outage(1000.0, "its node is lost")}
    assert blocked(plan, {}) == ""
    assert blocked(plan, down) == (
        "output 'z' cannot be computed: segment 'far' is down since "
        "1970-01-01T00:16:40.000+00:00 (its node is lost)"
    )
    assert blocked(plan, {"far": Outage(1000.0, "")}).endswith("00:00")
    head, far = segments_view(plan, 1, apps("RUNNING", 1, None), down, lambda *place: None)
    assert (head["running"], head["down_since"], head["reason"]) == (1, None, "")
    assert (far["running"], far["down_since"], far["reason"]) == (
        0, "1970-01-01T00:16:40.000+00:00", "its node is lost",
    )  # fmt: skip
