"""Traffic between the revisions of a graph: split, sticky, by rule, changed under load."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Given, Reply, ask_each, error, node, spec, value
from tests.engines import HTTP, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

WHO = """
import os
import numpy as np


class Who:
    def __init__(self, revision: int) -> None:
        self.answer = np.array([[revision, os.getpid()]], np.float64)

    def transform(self, x):
        return self.answer
"""
NAME = "duo"


def who(name: str, revision: int) -> dict[str, Any]:
    graph = spec(name, who=node("Who", args={"revision": revision}))
    graph["spec"]["scaling"] = {"replicas": 2}
    graph["spec"]["traffic"] = {
        "sticky": {"header": "x-user"},
        "rules": [{"when": "request.headers['x-tester'] == 'yes'", "to": "candidate"}],
    }
    return graph


@pytest.fixture(scope="module")
def duo(given_once: Given) -> Iterator[str]:
    """Two routers that carry revision 1, and revision 2 beside it."""
    given_once.deployed(who(NAME, 1), WHO)
    given_once.beside(who(NAME, 2), WHO, "--canary", "0")
    yield NAME


def arms(replies: list[Reply]) -> list[int]:
    """The revisions that answered, by their own word and by the protocol's."""
    found = [int(value(reply)[0]) for reply in replies]
    assert found == [int(reply.json()["model_version"]) for reply in replies]
    return found


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.nightly)])
def test_requests_at_even_weights_are_split_evenly(engine: Engine, duo: str, count: int) -> None:
    engine.traffic(duo, routers=2, weights={1: 50, 2: 50})

    def is_even() -> bool:
        found = Counter(arms(ask_each(f"{engine.graph_url(duo)}/infer", [{}] * count)))
        chi_square = sum((found[arm] - count / 2) ** 2 / (count / 2) for arm in (1, 2))
        return math.erfc(math.sqrt(chi_square / 2)) > 0.001

    # One time in a thousand it is not, by chance; twice in a row it is not by chance.
    assert is_even() or is_even()


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_sticky_keys_stay_on_their_arms(engine: Engine, duo: str, count: int) -> None:
    """Nothing is drawn: which arm a key belongs to is always the same."""
    url = f"{engine.graph_url(duo)}/infer"
    keys = [{"x-user": f"user-{number}"} for number in range(count)]
    engine.traffic(duo, routers=2, weights={1: 90, 2: 10})
    replies = ask_each(url, keys)
    first = arms(replies)
    assert 0.09 < first.count(2) / len(keys) < 0.11
    routers = {reply.json()["outputs"][0]["data"][1] for reply in replies if value(reply)[0] == 1}
    assert len(routers) == 2, "one of the two routers never answered"
    # Again, with every other key asked by whichever router gets it, after one of them restarted.
    os.kill(int(min(routers)), signal.SIGKILL)
    until(lambda: len(routers_of(engine, duo) - routers) == 1)
    again = ask_each(url, keys, patient=True)
    assert arms(again) == first
    fresh = {reply.json()["outputs"][0]["data"][1] for reply in again if value(reply)[0] == 1}
    assert len(fresh) == 2
    assert fresh != routers
    engine.traffic(duo, routers=2, weights={1: 80, 2: 20})
    raised = arms(ask_each(url, keys, patient=True))
    moved = [(old, new) for old, new in zip(first, raised, strict=True) if old != new]
    assert set(moved) == {(1, 2)}
    assert 0.09 < len(moved) / len(keys) < 0.11


def routers_of(engine: Engine, name: str) -> set[float]:
    """The processes of a graph's routers that answer just now."""
    asked = ask_each(f"{engine.graph_url(name)}/versions/1/infer", [{}] * 40, patient=True)
    return {value(reply)[1] for reply in asked if reply.status_code == 200}


@pytest.mark.parametrize("changes", [6, pytest.param(20, marks=pytest.mark.nightly)])
def test_weights_changed_under_load_are_in_force_at_once(
    engine: Engine, duo: str, load: Callable[..., Any], changes: int
) -> None:
    engine.traffic(duo, routers=2, weights={1: 1, 2: 0})
    before = {process.pid for process in actor_processes(engine, f"ServeReplica:{duo}")}
    turns: list[tuple[float, float, str]] = []
    """When a change was acknowledged, when the next one began, and who answers meanwhile."""
    with load(duo) as running:
        for turn in range(changes):
            arm = 2 - turn % 2
            engine.traffic(duo, routers=2, weights={arm: 1, 3 - arm: 0})
            acknowledged = time.monotonic()
            running.until_asked(50)
            turns.append((acknowledged, time.monotonic(), str(arm)))
    assert running.failures == {}
    assert {process.pid for process in actor_processes(engine, f"ServeReplica:{duo}")} == before
    for begun, ended, arm in turns:
        within = [one for one in running.timeline if begun < one.asked and one.came < ended]
        # Of the fifty, only those of its eight clients may have been on their way already.
        assert len(within) >= 40
        assert {one.revision for one in within} == {arm}


def test_a_change_is_in_force_when_the_command_returns(engine: Engine, duo: str) -> None:
    for turn in range(10):
        arm = 2 - turn % 2
        said = engine.traffic(duo, routers=2, weights={arm: 1})
        assert said["routers"] == {"confirmed": 2, "known": 2}
        replies = ask_each(f"{engine.graph_url(duo)}/infer", [{}] * 40)
        assert set(arms(replies)) == {arm}


def test_testers_see_the_candidate_and_nobody_else_does(engine: Engine, duo: str) -> None:
    engine.traffic(duo, routers=2, weights={1: 100, 2: 0})
    url = f"{engine.graph_url(duo)}/infer"
    assert set(arms(ask_each(url, [{"x-tester": "yes"}] * 100))) == {2}
    others = [{"x-tester": "no"}, {}, {"x-user": "someone"}] * 30
    assert set(arms(ask_each(url, others))) == {1}


def test_each_revision_can_be_asked_directly(engine: Engine, duo: str) -> None:
    engine.traffic(duo, routers=2, weights={1: 100, 2: 0})
    url = engine.graph_url(duo)
    for number in (1, 2):
        replies = ask_each(f"{url}/versions/{number}/infer", [{}] * 20)
        assert set(arms(replies)) == {number}
        metadata = HTTP.get(f"{url}/versions/{number}").json()
        assert metadata["versions"] == [str(number)]
    assert HTTP.get(url).json()["versions"] == ["1", "2"]
    (missing,) = ask_each(f"{url}/versions/3/infer", [{}])
    assert "1, 2" in error(missing, 404)


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ({"1": 0, "2": 0}, "sum"),
        ({"1": -1, "2": 2}, "-1"),
        ({"1": 1e308, "2": 1e308}, "1e+308"),
        ({"9": 1}, "9"),
        ({"one": 1}, "one"),
        ({"1": "much"}, "weights"),
        ({"1": True}, "weights"),
    ],
)
def test_weights_that_make_no_sense_are_refused(
    engine: Engine, duo: str, weights: dict[str, Any], problem: str
) -> None:
    engine.traffic(duo, weights={1: 3, 2: 1})
    reply = engine.api("PUT", f"/graphs/{duo}/traffic", json={"weights": weights})
    assert reply.status_code in (400, 404, 409), reply.text
    assert problem in reply.json()["error"]
    arms_now = {one["revision"]: one["weight"] for one in engine.graph(duo)["arms"]}
    assert arms_now == {1: 3, 2: 1}


def test_nan_is_refused_on_the_command_line_too(engine: Engine, duo: str) -> None:
    done = engine.command("traffic", duo, "r1=nan")
    assert done.returncode != 0
    assert "nan" in done.stderr
