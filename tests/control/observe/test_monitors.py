from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.lifecycle.analysis import DriftScore
from anabranch.control.observe.monitors import MOST_REVISIONS, Monitors, said
from anabranch.graph.monitor.windows import Result, Turn
from anabranch.monitors.base import Feature
from tests.control.control_api import TestControl

NEW = Result("inputs", "ks", ("x",), 200)
FEATURE = Feature("x[3]", 2.5, 0.61, 1e-20)


def looked(windows: int, score: float, **more: Any) -> Result:
    return replace(NEW, windows=windows, rows=200 * windows, score=score, at=1e9, **more)


class Log:
    """Events in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def log(self, *event: Any) -> None:
        self.events.append(event)


class Told:
    """Monitors that are told, at times of our choice."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log = Log()
        self.monitors = Monitors(self.log, lambda: self.now)

    def tell(self, *results: Result, revision: int = 1, turns: tuple[Turn, ...] = ()) -> None:
        asyncio.run(self.monitors.take("g", revision, results, turns))


def test_drift_is_the_highest_score_of_windows_since() -> None:
    told = Told()
    told.tell(NEW)
    assert told.monitors.drift("g", 1, 0) == DriftScore()
    for at, windows, score in ((110, 1, 0.5), (120, 2, 1.5), (130, 3, 0.7)):
        told.now = at
        told.tell(looked(windows, score))
        told.tell(looked(windows, score))  # said again, and no window more
    assert told.monitors.drift("g", 1, 0) == DriftScore(1.5, 600)
    assert told.monitors.drift("g", 1, 120) == DriftScore(0.7, 200)
    assert told.monitors.drift("g", 1, 130) == DriftScore()
    assert told.monitors.drift("g", 2, 0) == told.monitors.drift("other", 1, 0) == DriftScore()


def test_a_controller_that_starts_anew_knows_the_latest_window() -> None:
    told = Told()
    told.tell(looked(7, 1.5))
    assert told.monitors.drift("g", 1, 1e9 - 1) == DriftScore(1.5, 200)


def test_turns_become_events_with_their_evidence() -> None:
    told = Told()
    many = tuple(replace(FEATURE, name=f"x[{i}]") for i in range(7))
    told.tell(looked(1, 2.5), turns=(Turn("inputs", True, 5.0, 2.5, many),))
    told.tell(looked(3, 0.1), turns=(Turn("inputs", False, 6.0, 0.1, ()),))
    (graph, revision, kind, message, data), ended = told.log.events
    assert (graph, revision, kind) == ("g", 1, "drift_began")
    assert message.startswith("drift began: monitor inputs, score 2.5: x[0] (statistic 0.61, p 1e-")
    assert message.endswith("x[4] (statistic 0.61, p 1e-20), and 2 more")
    assert data["features"][0] == {
        "name": "x[0]", "score": 2.5, "statistic": 0.61, "p_value": 1e-20,
    }  # fmt: skip
    assert ended[2:4] == ("drift_ended", "drift ended: monitor inputs, score 0.1")


def test_features_without_numbers_are_named_alone() -> None:
    turn = Turn("m", True, 5.0, 1.2, (Feature("x"),))
    assert said(turn) == "drift began: monitor m, score 1.2: x"


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (replace(NEW, has_reference=False), "gathering"),
        (NEW, "waiting"),
        (replace(NEW, drift_since=5.0), "drift"),
        (looked(1, 1.5, drift_since=5.0, has_reference=False), "drift"),
        (looked(1, 0.5), "ok"),
        (looked(1, 1.5, drift_since=5.0), "drift"),
        (looked(1, 0.5, error="no luck"), "failing"),
    ],
)
def test_states(result: Result, state: str) -> None:
    told = Told()
    told.tell(result)
    assert [one["state"] for one in told.monitors.view("g", {1})] == [state]


def test_memory_is_bounded() -> None:
    told = Told()
    for revision in range(1, MOST_REVISIONS + 3):
        told.tell(looked(1, 0.5), revision=revision)
    shown = told.monitors.view("g", range(MOST_REVISIONS + 3))
    assert [one["revision"] for one in shown] == list(range(MOST_REVISIONS + 2, 2, -1))
    told.monitors.keep(["other"])
    assert told.monitors.view("g", range(MOST_REVISIONS + 3)) == []


def test_the_api_shows_monitors_of_what_is_up(tmp_path: Path) -> None:
    control = TestControl(tmp_path)
    control.deploy("g")
    control.arrive(1, "g")
    asyncio.run(control.parts.monitors.take("g", 1, [looked(2, 0.5, outliers=4)], ()))
    asyncio.run(control.parts.monitors.take("g", 9, [looked(2, 0.5)], ()))
    status, found = control.call("GET", "/graphs/g/monitors")
    assert status == 200
    (shown,) = found["monitors"]
    assert (shown["monitor"], shown["revision"], shown["method"]) == ("inputs", 1, "ks")
    assert (shown["rows"], shown["outlier_share"], shown["score"]) == (400, 0.01, 0.5)
    assert shown["looked_at"].startswith("2001-09-09")
    assert control.call("GET", "/graphs/none/monitors")[0] == 404


def test_the_monitors_that_tell_of_drift_are_named() -> None:
    told = Told()
    assert told.monitors.drifting("g", [1]) is None
    told.tell(looked(1, 0.5), replace(looked(1, 2.0, drift_since=5.0), monitor="outputs"))
    told.tell(replace(looked(1, 2.0, drift_since=5.0), monitor="nodes"), revision=2)
    assert told.monitors.drifting("g", [1]) == ["outputs"]
    assert told.monitors.drifting("g", [2, 1]) == ["nodes", "outputs"]
    assert told.monitors.drifting("g", [3]) is told.monitors.drifting("other", [1]) is None
