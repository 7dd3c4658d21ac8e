"""Callers that keep their routes, experiments on them, and rollouts that go by evidence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, error, node, spec
from tests.engines import BODY, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "split"
ROUTERS = 3
CALLERS = [f"caller-{index}" for index in range(20)]
CODE = """
import itertools


class Times:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def transform(self, x):
        return x * self.factor


class Failing:
    \"\"\"Fails one request in ``every``; none where it is 0.\"\"\"

    def __init__(self, every: int = 0) -> None:
        self.every = every
        self.count = itertools.count(1)

    def transform(self, x):
        if self.every and next(self.count) % self.every == 0:
            raise RuntimeError("one of those")
        return x * 2
"""


def graph(**sticky: str) -> dict[str, Any]:
    """Two routes, one of them in a process of its own, in three routers."""
    isolated = node("Times", args={"factor": 2.0}, placement={"isolate": True})
    found = spec(NAME, one=node("Times"), two=isolated)
    found["spec"]["nodes"]["pick"] = {
        "type": "router", "strategy": "weighted", "routes": {"one": 50, "two": 50},
        "sticky": sticky,
    }  # fmt: skip
    found["spec"] |= {"outputs": {"y": "pick"}, "scaling": {"replicas": ROUTERS}}
    return found


@pytest.fixture(scope="module")
def split(given_once: Given, engine: Engine) -> str:
    given_once.deployed(graph(header="x-user"), CODE)
    until(lambda: len(actor_processes(engine, f"ServeReplica:{NAME}:router")) == ROUTERS)
    return NAME


def routing(engine: Engine, name: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask on a connection of its own, so that any router may get the request."""
    reply = httpx.post(f"{engine.graph_url(name)}/infer", json=BODY, headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = json.loads(reply.json()["parameters"]["routing"])
    return found


def test_a_sticky_caller_keeps_its_route_whichever_router_answers(
    engine: Engine, split: str
) -> None:
    def route(caller: str) -> str:
        return str(routing(engine, split, {"x-user": caller})["path"]["pick"])

    with ThreadPoolExecutor(8) as pool:
        rounds = [list(pool.map(route, CALLERS)) for _ in range(6)]
    assert all(one == rounds[0] for one in rounds)
    assert set(rounds[0]) == {"one", "two"}


@pytest.mark.nightly
def test_an_experiment_reports_a_better_route_as_significant(engine: Engine, split: str) -> None:
    """The second route earns a reward four times out of five, the first one once."""
    worth = {"one": 0.2, "two": 0.8}
    asked = dict.fromkeys(worth, 0)

    def play(count: int) -> None:
        for index in range(count):
            found = routing(engine, split, {"x-user": f"player-{index}"})
            route = found["path"]["pick"]
            asked[route] += 1
            reward = float(asked[route] % 5 < 5 * worth[route])
            body = {"routing": json.dumps(found), "reward": reward}
            reply = httpx.post(f"{engine.graph_url(split)}/feedback", json=body, timeout=60)
            assert reply.status_code == 200, reply.text

    def shown() -> dict[str, Any]:
        done = engine.command("experiment", split, "pick", "-o", "json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)["experiments"]
        return {one["route"]: one for one in found["routes"]}

    play(20)
    assert not shown()["two"]["significant"]
    play(150)
    found = shown()
    assert {route: one["rewards"] for route, one in found.items()} == asked
    assert found["two"]["significant"]
    assert found["two"]["difference"] > 0.4
    text = engine.command("experiment", split).stdout
    assert "better" in text
    until(lambda: shown()["one"]["requests"] >= asked["one"])


def test_an_unknown_router_node_is_named(engine: Engine, split: str) -> None:
    done = engine.command("experiment", split, "pikc")
    assert done.returncode != 0
    assert "no router node 'pikc' (did you mean 'pick'" in done.stderr
    assert "between 0 and 1" in error(
        engine.api("GET", f"/graphs/{split}/experiments?error=2"), 400
    )


def test_a_rollout_by_evidence_stops_a_worse_candidate_and_promotes_an_equal_one(
    engine: Engine, given_once: Given, load: Any
) -> None:
    name = "evident"

    def answer(every: int) -> dict[str, Any]:
        return spec(name, answer=node("Failing", args={"every": every}))

    metric = {"metric": "significance", "of": "error_rate", "max": 0.05}
    plan = {"steps": [50], "analysis": {"interval": "1s", "metrics": [metric]}}

    def phase() -> str:
        return str(engine.api("GET", f"/graphs/{name}/rollout").json()["phase"])

    given_once.deployed(answer(0), CODE)
    for every, end in ((3, "aborted"), (0, "promoted")):
        candidate = answer(every)
        candidate["spec"]["rollout"] = plan
        with load(name) as running:
            given_once.beside(candidate, CODE)
            running.until(lambda end=end: phase() == end)
        found = engine.api("GET", f"/events?graph={name}&limit=1000").json()["events"]
        kind = "rollout_aborted" if end == "aborted" else "analysis_pass"
        message = [one["message"] for one in found if one["kind"] == kind][-1]
        assert "error_rate of candidate minus stable" in message
