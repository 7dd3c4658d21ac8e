"""What is said of a graph whose routers come and go."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.common import ReplicaState
from ray.serve.schema import ApplicationStatus

from anabranch.control.api.views import graph_view, ready_state
from anabranch.control.lifecycle.operations import Member, Situation
from anabranch.control.store.records import GraphRecord

GRAPH = GraphRecord("digits", "present", 1, 0.0, 1, {}, {})


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
    now = Situation("digits", stable=1, members={1: Member(1, "live")})
    found = apps(status, replicas, lowest)
    assert graph_view(GRAPH, now, found, "http://a")["state"] == state
    told = ready_state(now, found)
    assert told is not None
    assert (told["ready"], told["reason"] == "") == (ready, ready)
