"""The past as the control API shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from anabranch.control.lifecycle.rollouts import Measurement
from tests.control.control_api import TestControl


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    engine = TestControl(tmp_path)
    engine.up(1)
    asyncio.run(engine.parts.publish())
    return engine


def test_a_graph_has_its_numbers_arms_and_looks(engine: TestControl) -> None:
    past = Measurement("error_rate", "pass", "in words", value=0.0, limit=0.01)
    engine.parts.looks.take("digits", 5.0, 1, 0, [past])
    for _ in range(3):
        engine.parts.history.take()
    status, found = engine.call("GET", "/graphs/digits/history", "points=1")
    assert status == 200
    assert (found["graph"], found["interval"], len(found["at"])) == ("digits", 5.0, 1)
    assert found["total"] == {
        "per_second": [None], "error_rate": [None], "p50": [None], "p95": [None], "p99": [None],
        "in_flight": [None],
    }  # fmt: skip
    assert found["arms"] == {}
    assert [look["measurements"][0]["limit"] for look in found["looks"]] == [0.01]


def test_all_graphs_have_their_rates(engine: TestControl) -> None:
    for _ in range(3):
        engine.parts.history.take()
    status, found = engine.call("GET", "/history")
    assert (status, found["interval"], len(found["at"])) == (200, 5.0, 2)
    assert found["graphs"] == {"digits": [None, None]}


@pytest.mark.parametrize("path", ["/history", "/graphs/digits/history"])
def test_there_are_no_more_points_than_are_kept(engine: TestControl, path: str) -> None:
    status, found = engine.call("GET", path, "points=1441")
    assert status == 400
    assert "points='1441' is not a whole number from 0 to 1440" in found["error"]


def test_a_graph_that_is_not_there_has_no_past(engine: TestControl) -> None:
    assert engine.call("GET", "/graphs/other/history")[0] == 404
