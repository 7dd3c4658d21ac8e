"""What the control API says of machines."""

from __future__ import annotations

import pytest

from anabranch.control.nodes.ingress import named
from anabranch.control.nodes.node import IMPLICIT, ClusterLook, Demand, State
from anabranch.control.nodes.views import node_view, nodes_view
from anabranch.serve.replicas.gateway import GATEWAY_APP
from tests.control.nodes.machines import app, node

APPS = {
    "digits": app(router=["one"]),
    "digits.r4": app(large=["two", "two", None], small=["one"]),
    GATEWAY_APP: app(gateway=["one"]),
}


def test_a_machine_with_all_that_is_on_it() -> None:
    two = node(
        "two",
        total={"CPU": 8.0, "licence": 2.0, "node:10.0.0.3": 1.0},
        available={"CPU": 2.5, "licence": 2.0, "node:10.0.0.3": 1.0},
        labels={"zone": "north", "anabranch.io/machine": "m2", "ray.io/node-id": "x"},
    )
    one = node("one", is_head=True)
    view = nodes_view(ClusterLook((two, one), (Demand({"CPU": 4.0}, 2),)), APPS)
    head, other = view["nodes"]
    assert (head["name"], head["head"], other["head"]) == ("one", True, False)
    assert other == {
        "name": "two",
        "id": two.id,
        "machine": "m2",
        "address": "10.0.0.3",
        "head": False,
        "state": "alive",
        "since": "2001-09-09T01:46:40.000+00:00",
        "resources": {"CPU": {"total": 8.0, "used": 5.5}, "licence": {"total": 2.0, "used": 0.0}},
        "labels": {"zone": "north"},
        "segments": [
            {
                "graph": "digits",
                "revision": 4,
                "part": "segments",
                "deployment": "large",
                "replicas": 2,
            }
        ],
        "ingress": False,
    }
    assert head["ingress"]
    assert [(s["deployment"], s["revision"]) for s in head["segments"]] == [
        ("router", None),
        ("small", 4),
    ]


def test_what_waits_for_a_place_is_told_with_what_it_wants() -> None:
    bound = {f"{IMPLICIT}digits.r3:large": 0.01}  # of no use to who reads it
    demand = Demand({"CPU": 4.0, "licence": 1.0, **bound}, 2, {"zone": "north"})
    view = nodes_view(ClusterLook((), (demand,)), APPS)
    assert view["pending"] == [
        {"resources": {"CPU": 4.0, "licence": 1.0}, "labels": {"zone": "north"}, "count": 2}
    ]
    (waiting,) = view["waiting"]
    assert (waiting["graph"], waiting["deployment"], waiting["replicas"]) == ("digits", "large", 1)


def test_what_is_bound_to_a_machine_that_is_drained_waits_for_no_place() -> None:
    two = node("two", state="draining")
    demands = Demand({f"node:{two.address}": 0.001}, 1), Demand({"CPU": 4.0}, 1)
    pending = nodes_view(ClusterLook((two,), demands), APPS)["pending"]
    assert [one["resources"] for one in pending] == [{"CPU": 4.0}]


def test_of_a_lost_machine_it_is_told_since_when_and_no_use_is_made_up() -> None:
    lost = node("one", state="lost", since=1e9, until=1e9 + 60, total={"CPU": 2.0})
    (view,) = nodes_view(ClusterLook((lost,)), {})["nodes"]
    assert view["since"] == "2001-09-09T01:47:40.000+00:00"
    assert view["resources"] == {"CPU": {"total": 2.0, "used": None}}


@pytest.mark.parametrize(("state", "expected"), [("draining", True), ("drained", False)])
def test_requests_may_be_under_way_where_there_is_a_gateway(state: State, expected: bool) -> None:
    two = node("two", state=state)
    assert node_view(two, {named(GATEWAY_APP, two): app()})["ingress"] is expected
