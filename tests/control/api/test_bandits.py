from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.lifecycle import operations
from anabranch.router.traffic.decisions import Rewarded
from tests.control.control_api import TestControl
from tests.control.learners import rewarded, spec

PICK = {"strategy": "thompson"}
OTHER = {"strategy": "linucb", "inputs": {"x": "x"}}


class Learning(TestControl):
    """A control plane with a graph in which two routers learn."""

    __test__ = False

    def revision(self, **routers: Any) -> int:
        """Deploy a revision, which comes up at once."""
        status, found = self.deploy("duo", spec=json.dumps(spec("duo", **routers)))
        assert status == 202, found
        number: int = found["revision"]
        self.arrive(number, "duo")
        return number

    def learn(self, *counted: Rewarded) -> None:
        with self.store.database.write() as connection:
            self.parts.bandits.learn(connection, "duo", counted)

    def shown(self) -> list[dict[str, Any]]:
        status, found = self.call("GET", "/graphs/duo/bandits")
        assert (status, found["graph"]) == (200, "duo")
        shown: list[dict[str, Any]] = found["bandits"]
        return shown


@pytest.fixture
def control(tmp_path: Path) -> Learning:
    one = Learning(tmp_path)
    one.revision(pick=PICK, other=OTHER)
    return one


def test_what_was_learned_is_shown(control: Learning) -> None:
    control.learn(*[rewarded(1.0)] * 8, rewarded(0.0, "b"))
    pick, other = control.shown()
    assert (pick["router"], pick["strategy"], pick["revisions"]) == ("pick", "thompson", [1])
    assert pick["rewards"] == 9
    assert pick["updated_at"].startswith("20")
    a, b = pick["routes"]
    assert (a["route"], a["rewards"], a["weight"]) == ("a", 8, 8.0)
    assert a["mean"] == pytest.approx(0.9)
    assert a["interval"][0] < 0.9 < a["interval"][1]
    assert a["posterior"] == {"alpha": 9.0, "beta": 1.0}
    assert b["posterior"] == {"alpha": 1.0, "beta": 2.0}
    assert a["share"] + b["share"] == pytest.approx(1.0)
    assert a["share"] > 0.9
    assert (other["strategy"], other["rewards"], other["updated_at"]) == ("linucb", 0, None)
    assert {route["share"] for route in other["routes"]} == {None}


def test_features_show_as_parameters(control: Learning) -> None:
    control.learn(*[rewarded(1.0, router="other", other=(1.0, 0.0))] * 50)
    a, b = control.shown()[1]["routes"]
    assert a["posterior"]["theta"] == pytest.approx([50 / 51, 0.0])
    assert b["posterior"] == {"theta": None}


def test_revisions_that_decide_alike_are_one(control: Learning) -> None:
    control.revision(pick=PICK, other=OTHER)
    control.revision(pick=PICK | {"args": {"min_share": 0.1}})
    control.learn(rewarded(1.0))
    shown = [(one["router"], one["revisions"], one["rewards"]) for one in control.shown()]
    assert shown == [("pick", [3], 1), ("pick", [1, 2], 1), ("other", [1, 2], 0)]


def test_a_reset_of_one_router_or_of_all(control: Learning) -> None:
    def rewards() -> dict[str, int]:
        return {one["router"]: one["rewards"] for one in control.shown()}

    lessons = rewarded(1.0), rewarded(1.0, router="other", other=(1.0, 0.0))
    control.learn(*lessons)
    assert rewards() == {"pick": 1, "other": 1}
    status, found = control.send("POST", "/graphs/duo/bandits/reset", {"router": "pick"})
    assert status == 200
    assert found["bandits"] == control.shown()
    assert rewards() == {"pick": 0, "other": 1}
    control.learn(*lessons)
    assert control.send("POST", "/graphs/duo/bandits/reset")[0] == 200
    assert rewards() == {"pick": 0, "other": 0}
    kinds = [event.kind for event in control.store.events("duo")]
    assert kinds.count("bandit_reset") == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("duo", {"router": "pik"}, 404, "is called 'pik' (did you mean 'pick'? available: other"),
        ("duo", {"routers": "pick"}, 400, "routers"),
        ("duo", {"router": 1}, 400, "router"),
        ("nobody", {}, 404, "no graph 'nobody'"),
        ("plain", {}, 404, "graph 'plain' has no router that learns"),
    ],
)
def test_a_reset_of_what_is_not_there(
    control: Learning, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    assert control.deploy("plain")[0] == 202
    found = control.send("POST", f"/graphs/{path}/bandits/reset", body)
    assert found[0] == status
    assert message in found[1]["error"]


def test_a_graph_without_any_shows_none(control: Learning) -> None:
    assert control.deploy("plain")[0] == 202
    assert control.call("GET", "/graphs/plain/bandits") == (200, {"graph": "plain", "bandits": []})


def test_a_graph_that_comes_back_begins_anew(control: Learning) -> None:
    control.learn(rewarded(1.0))
    assert control.call("DELETE", "/graphs/duo")[0] == 202
    control.learn(rewarded(1.0))  # too late
    control.change("duo", operations.gone)
    assert control.call("GET", "/graphs/duo/bandits")[0] == 404
    control.revision(pick=PICK)
    assert [one["rewards"] for one in control.shown()] == [0]
