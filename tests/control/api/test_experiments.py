from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from anabranch.router.traffic.feedback import RewardEntry
from anabranch.telemetry.definitions import NODE_DURATION, NODE_ERRORS, ROUTE_REQUESTS
from anabranch.telemetry.registry import Registry
from tests.control.control_api import TestControl
from tests.control.learners import rewarded, spec


class Experimenting(TestControl):
    """A control plane with a graph in which a router node splits requests."""

    __test__ = False

    def reward(self, blocks: int, **shares: float) -> None:
        """Reward each route so often, with these shares of ones among tens."""

        async def count() -> None:
            for _ in range(blocks):
                told = [
                    rewarded(float(n < 10 * share), route)
                    for route, share in shares.items()
                    for n in range(10)
                ]
                entries = [RewardEntry(one.decision, one.reward, one.decision.id) for one in told]
                await self.parts.rewards.count("duo", entries)

        asyncio.run(count())

    def shown(self, query: str = "") -> dict[str, Any]:
        status, _, body = self.raw("GET", "/graphs/duo/experiments", query)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture
def control(tmp_path: Path) -> Experimenting:
    one = Experimenting(tmp_path)
    routers = {
        "pick": {"strategy": "weighted", "routes": {"a": 1, "b": 1, "c": 1}},
        "learn": {"strategy": "thompson"},
    }
    status, found = one.deploy(
        "duo", spec=json.dumps(spec("duo", routes=("a", "b", "c"), **routers))
    )
    assert status == 202, found
    one.arrive(1, "duo")
    return one


def test_each_route_has_its_rewards_and_a_verdict(control: Experimenting) -> None:
    control.reward(40, a=0.3, b=0.7, c=0.3)
    found = control.shown()
    assert (found["graph"], found["error"]) == ("duo", 0.05)
    by_router = {one["router"]: one for one in found["experiments"]}
    assert by_router.keys() == {"pick", "learn"}
    pick = by_router["pick"]
    assert (pick["revision"], pick["note"]) == (1, None)
    assert pick["updated_at"].startswith("20")
    a, b, c = pick["routes"]
    assert (a["route"], a["rewards"], a["mean"]) == ("a", 400, pytest.approx(0.3))
    assert {a[name] for name in ("difference", "p_value", "significant")} == {None}
    assert b["difference"] == pytest.approx(0.4)
    assert (b["significant"], b["p_value"] < 0.001) == (True, True)
    assert (c["significant"], c["p_value"]) == (False, 1.0)
    assert "not compared" in by_router["learn"]["note"]


def test_the_stated_error_is_shared_by_all_comparisons(control: Experimenting) -> None:
    control.reward(20, a=0.3, b=0.5, c=0.3)
    p = control.shown()["experiments"][0]["routes"][1]["p_value"]
    assert 1e-9 < p < 0.1
    for error, significant in ((1.9 * p, False), (2.1 * p, True)):
        routes = control.shown(f"error={error!r}")["experiments"][0]["routes"]
        assert routes[1]["significant"] is significant


def test_requests_failures_and_times_come_from_the_metrics(control: Experimenting) -> None:
    registry = Registry()
    registry.number(ROUTE_REQUESTS, "duo", "1", "pick", "a").value = 7
    registry.number(NODE_ERRORS, "duo", "1", "a", "NodeError").value = 2
    registry.number(NODE_ERRORS, "duo", "1", "a", "Unavailable").value = 1
    for seconds in (0.1, 0.3):
        registry.distribution(NODE_DURATION, "duo", "1", "a").observe(seconds)
    control.process_sums.take("one", registry.snapshot(), {})
    a, b, _ = control.shown()["experiments"][0]["routes"]
    assert (a["requests"], a["failures"], a["seconds"]) == (7, 3, pytest.approx(0.2))
    assert (b["requests"], b["failures"], b["seconds"]) == (0, 0, None)


@pytest.mark.parametrize("error", ["0", "1", "-1", "nan", "often"])
def test_an_error_is_a_probability(control: Experimenting, error: str) -> None:
    status, _, body = control.raw("GET", "/graphs/duo/experiments", f"error={error}")
    assert status == 400
    assert "error must be a number between 0 and 1" in json.loads(body)["error"]


def test_a_deleted_graph_begins_anew(control: Experimenting) -> None:
    control.reward(1, a=0.3)
    status, _ = control.call("DELETE", "/graphs/duo")
    assert status == 202
    with control.store.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT COUNT(*) FROM experiments").scalar()
    assert rows == 0
