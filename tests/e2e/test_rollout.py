"""Rollouts that judge themselves, and what happens when something dies in the middle of one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.control.web import Answer, Asked, Web
from tests.e2e.conftest import Given, node, spec
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import itertools
import time


class Answer:
    \"\"\"Takes its time, and fails one request in ``every``.\"\"\"

    max_concurrency = 64

    def __init__(self, seconds: float = 0.005, every: int = 0) -> None:
        self.seconds = seconds
        self.every = every
        self.count = itertools.count(1)

    def transform(self, x):
        time.sleep(self.seconds)
        if self.every and next(self.count) % self.every == 0:
            raise RuntimeError("one of those")
        return x * 2
"""
NAME = "rolled"
INTERVAL = 1.5


def answer(name: str, rollout: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
    graph = spec(name, answer=node("Answer", args=args))
    graph["spec"]["scaling"] = {"replicas": 2}
    if rollout is not None:
        graph["spec"]["rollout"] = rollout
    return graph


def plan(*steps: float, metric: dict[str, Any], hold: str = "2s", **more: Any) -> dict[str, Any]:
    analysis = {"interval": f"{INTERVAL}s", "failure_limit": 1, "metrics": [metric], **more}
    return {"steps": list(steps), "hold": hold, "analysis": analysis}


ERRORS = {"metric": "error_rate", "max": 0.05}


@pytest.fixture(scope="module")
def base(given_once: Given) -> Iterator[str]:
    """A graph whose first revision is good."""
    given_once.deployed(answer(NAME), CODE)
    yield NAME


@pytest.fixture
def rolled(engine: Engine, base: str, given_once: Given) -> Iterator[str]:
    """Back to the first revision after each test."""
    yield base
    if engine.graph(base)["live"] != 1:
        done = engine.command("rollback", base, "--to", "1")
        assert done.returncode == 0, done.stderr
    else:
        engine.api("POST", f"/graphs/{base}/abort")
    given_once.settled(base, inlined=1)


def rollout(engine: Engine, name: str) -> dict[str, Any]:
    reply = engine.api("GET", f"/graphs/{name}/rollout")
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def until_phase(engine: Engine, name: str, phase: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while (found := rollout(engine, name))["phase"] != phase:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def weights(engine: Engine, name: str) -> dict[int, float]:
    return {one["revision"]: one["weight"] for one in engine.graph(name)["arms"]}


def events(engine: Engine, name: str, kind: str) -> list[dict[str, Any]]:
    reply = engine.api("GET", f"/events?graph={name}&limit=1000")
    return [one for one in reply.json()["events"] if one["kind"] == kind]


def test_a_candidate_that_fails_is_out_in_time(
    engine: Engine, rolled: str, given_once: Given, load: Callable[..., Any]
) -> None:
    started = len(events(engine, rolled, "rollout_started"))
    with load(rolled) as running:
        given_once.beside(answer(rolled, plan(50, metric=ERRORS, min_samples=10), every=5), CODE)
        begun = events(engine, rolled, "rollout_started")[started:]
        until_phase(engine, rolled, "aborted")
        running.until_asked(200)
    (start,) = begun
    # Once it may fail; the second time it is out.
    failures = [
        one for one in events(engine, rolled, "analysis_fail")
        if one["revision"] == start["revision"]
    ]  # fmt: skip
    assert len(failures) == 2
    live = engine.graph(rolled)["live"]
    assert weights(engine, rolled) == {live: 100}
    failed = {text for text in running.answers if "error" in text}
    assert running.failures.keys() <= {"500"}, running.failures
    assert not [text for text in failed if "one of those" not in text]
    assert failed, "no request saw the candidate fail"
    # The last requests, and every one of the stable arm, were good.
    assert {one.revision for one in running.timeline[-100:]} == {str(live)}
    # Each of its two replicas fails every fifth, and has begun to count the next five.
    failures_seen = running.failures["500"]
    good = sum(one.revision == str(start["revision"]) for one in running.timeline)
    assert abs(failures_seen - (failures_seen + good) / 5) < 2
    # The two looks count these requests, each at most once.
    looks = [look for one in failures for look in one["data"]["measurements"]]
    counted = [round(look["value"] * look["samples"]) for look in looks]
    assert counted == pytest.approx([look["value"] * look["samples"] for look in looks])
    assert sum(counted) <= failures_seen
    assert sum(look["samples"] for look in looks) - sum(counted) <= good
    states = {one["revision"]: one["state"] for one in engine.graph(rolled)["revisions"]}
    assert states[start["revision"]] == "warm", "it is left up to be looked at"


@pytest.mark.nightly
def test_a_candidate_that_is_three_times_slower_is_stopped(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    """Both revisions take much longer than a busy machine adds to either by chance."""
    name = given.deployed(answer("slowed", seconds=0.1), CODE)
    steps = plan(50, metric={"metric": "latency_p95", "max": "1.2x"}, hold="15s")
    with load(name, clients=32) as running:
        given.beside(answer(name, steps, seconds=0.3), CODE)
        found = until_phase(engine, name, "aborted")
        running.until_asked(50)
    assert "latency_p95" in found["reason"]
    assert running.failures == {}


def test_a_good_candidate_is_promoted_and_then_rolled_back_at_once(
    engine: Engine, rolled: str, given_once: Given, load: Callable[..., Any]
) -> None:
    with load(rolled) as running:
        given_once.beside(answer(rolled, plan(10, 50, metric=ERRORS)), CODE)
        found = until_phase(engine, rolled, "promoted")
        number = found["revision"]
        steps = [one["data"]["weight"] for one in events(engine, rolled, "rollout_step")]
        given_once.settled(rolled, inlined=number)
        running.until_asked(300)
        reply = engine.api("POST", f"/graphs/{rolled}/rollback", json={})
        assert reply.status_code == 200, reply.text
        back, routers = time.monotonic(), reply.json()["routers"]
        running.until_asked(200)
        given_once.settled(rolled, inlined=1)
        if routers["confirmed"] < routers["known"]:  # one was held up longer than the reply waits
            back = time.monotonic()
        running.until_asked(300)
    assert steps[-1:] == [50]
    assert running.failures == {}
    assert {one.revision for one in running.timeline if one.asked > back} == {"1"}
    assert {one.revision for one in running.timeline} == {"1", str(number)}


@pytest.mark.nightly
def test_the_controller_dies_in_a_step_and_goes_on_there(
    engine: Engine, rolled: str, given_once: Given, load: Callable[..., Any]
) -> None:
    with load(rolled) as running:
        given_once.beside(answer(rolled, plan(30, 60, metric=ERRORS, hold="20s")), CODE)
        before = rollout(engine, rolled)
        (controller,) = actor_processes(engine, "Controller")
        os.kill(controller.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while (reply := engine.api("GET", f"/graphs/{rolled}/rollout")).status_code != 200:
            assert time.monotonic() < deadline, reply.text
        after = reply.json()
        assert (after["step"], after["weight"]) == (before["step"], before["weight"]) == (1, 30)
        assert weights(engine, rolled)[after["revision"]] == 30
        # What it had begun it ends.
        until_phase(engine, rolled, "promoted")
    assert running.failures == {}


@pytest.mark.nightly
def test_a_router_dies_in_a_rollout(
    engine: Engine, rolled: str, given_once: Given, load: Callable[..., Any]
) -> None:
    clients = 8
    with load(rolled, clients=clients) as running:
        given_once.beside(answer(rolled, plan(30, metric=ERRORS, hold="6s")), CODE)
        victim = actor_processes(engine, f"ServeReplica:{rolled}:router")[0]
        os.kill(victim.pid, signal.SIGKILL)
        until_phase(engine, rolled, "promoted")
        running.until_asked(100)
    assert sum(running.failures.values()) <= clients, running.failures


@pytest.mark.nightly  # tests/control/rollout/test_driver.py has it by day
def test_without_samples_a_rollout_waits(engine: Engine, rolled: str, given_once: Given) -> None:
    given_once.beside(answer(rolled, plan(5, metric=ERRORS, hold="0s")), CODE)
    until(lambda: rollout(engine, rolled)["waiting_since"] is not None)
    assert rollout(engine, rolled)["phase"] == "running"
    done = engine.command("rollout", rolled, "status")
    assert done.returncode == 0, done.stderr
    assert "waiting since" in done.stdout and "missing" in done.stdout
    assert engine.command("rollout", rolled, "abort").returncode == 0
    assert rollout(engine, rolled)["phase"] == "aborted"


class Outside:
    """A Prometheus and a gate, which a test sets."""

    def __init__(self) -> None:
        self.gate = 204
        self.value = "0.5"

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/api/v1/query":
            sample = {"metric": {}, "value": [0, self.value]}
            found = {"status": "success", "data": {"resultType": "vector", "result": [sample]}}
            return Answer(200, json.dumps(found).encode())
        return Answer(self.gate if asked.path == "/gate" else 200, b"not on a Friday")


def test_a_rollout_hears_mirrors_prometheus_and_gates_and_tells_webhooks(
    engine: Engine, rolled: str, given_once: Given, load: Callable[..., Any], outside: Web
) -> None:
    outside.answer = says = Outside()
    says.gate = 403
    metrics = [
        {"metric": "agreement", "min": 0.9},
        {"metric": "prediction_shift", "max": 0.5},
        {"metric": "promql", "query": 'up{graph="$graph",revision="$revision"}', "max": 1},
    ]
    judged = plan(20, 40, metric=metrics[0], hold="0s")
    judged["analysis"]["metrics"] = metrics
    judged |= {"gate": f"{outside.url}/gate", "webhooks": [f"{outside.url}/hook"]}
    with load(rolled) as running:
        given_once.beside(answer(rolled, judged), CODE)
        found = until_paused_by(engine, rolled, "gate")
        assert "not on a Friday" in found["reason"]
        says.gate = 204
        assert engine.command("rollout", rolled, "resume").returncode == 0
        found = until_phase(engine, rolled, "promoted")
    assert running.failures == {}
    assert {one["metric"]: one["verdict"] for one in found["measurements"]} == {
        "agreement": "pass",
        "prediction_shift": "pass",
        "promql": "pass",
    }
    queries = {one.query["query"] for one in outside.asked if one.path == "/api/v1/query"}
    assert queries == {f'up{{graph="{rolled}",revision="{found["revision"]}"}}'}
    expected = [f"rollout_{kind}" for kind in ("started", "paused", "resumed", "step", "promoted")]
    until(lambda: in_order(expected, told(outside, found["revision"])))


def test_a_rollout_waits_for_an_approval_and_the_log_of_events_verifies(
    engine: Engine, rolled: str, given_once: Given
) -> None:
    approve: dict[str, Any] = {"role": "operator"}
    given_once.beside(answer(rolled, {"steps": [50], "approve": approve}), CODE)
    until_paused_by(engine, rolled, "approval")
    own = engine.command("rollout", rolled, "approve")
    assert own.returncode == 1 and "takes the approval of another operator" in own.stderr
    assert engine.command("rollout", rolled, "abort").returncode == 0
    approve |= {"other_than_author": False}
    given_once.beside(answer(rolled, {"steps": [50], "approve": approve}, seconds=0.004), CODE)
    until_paused_by(engine, rolled, "approval")
    assert engine.command("rollout", rolled, "approve").returncode == 0
    until_phase(engine, rolled, "promoted")
    assert len(events(engine, rolled, "rollout_approved")) == 1
    until(lambda: events(engine, rolled, "refused"))
    verified = engine.command("events", "verify")
    assert verified.returncode == 0 and "the newest has the hash" in verified.stdout
    assert "kept for 90.0 days" in engine.command("doctor").stdout


def until_paused_by(engine: Engine, name: str, cause: str) -> dict[str, Any]:
    """Wait until a rollout is paused by that; one without enough samples pauses for a while."""
    found: dict[str, Any] = {}

    def is_paused() -> bool:
        found.update(rollout(engine, name))
        return (found["phase"], found["paused_by"]) == ("paused", cause)

    until(is_paused)
    return found


def in_order(expected: list[str], heard: list[str]) -> bool:
    """Whether all that is expected was heard, in this order; pauses for samples may be between."""
    left = iter(heard)
    return all(one in left for one in expected)


def told(outside: Web, revision: int) -> list[str]:
    """The events of a revision that the webhook has heard of."""
    heard = [one.json for one in outside.asked if one.path == "/hook"]
    return [one["event"] for one in heard if one["revision"] == revision]


def test_a_hook_that_is_not_allowed_is_refused(base: str, given_once: Given) -> None:
    rollout = plan(20, metric=ERRORS) | {"webhooks": ["http://169.254.169.254/latest"]}
    done = given_once.deploy(answer(base, rollout), CODE)
    assert done.returncode != 0
    assert "ANABRANCH_WEBHOOKS" in done.stderr
