"""``anabranch monitors``, against the real control API over HTTP."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from anabranch.graph.monitor.windows import Result
from anabranch.monitors.base import Feature
from tests.control.learners import spec

NEW = Result("inputs", "ks", ("x",), 200, gathered=30, wanted=200)


@pytest.fixture
def duo(engine):
    """A graph whose monitors have told something."""
    graph = spec("duo", pick={"strategy": "weighted"})
    engine.text("deploy", engine.file(json.dumps(graph)))
    drifted = tuple(Feature(f"x[{i}]", 3.0 - 0.01 * i, 0.6, 1e-20) for i in range(10))
    results = [
        replace(
            NEW, windows=2, rows=400, score=3.0, at=1e9, drift_since=1e9, outliers=4,
            features=(*drifted, Feature("x[10]", 0.2, 0.1, 0.5)),
        ),
        replace(NEW, monitor="first", has_reference=False, wanted=500),
        replace(NEW, monitor="next"),
        replace(NEW, monitor="broken", errors=1, error="score() raised RuntimeError: no luck"),
        replace(
            NEW, monitor="spread", method="sketch", windows=1, rows=200, at=1e9,
            features=(Feature("x", summary={"count": 200.0, "mean": 1.5}, quantiles={0.5: 1.25}),),
        ),
    ]  # fmt: skip
    asyncio.run(engine.parts.monitors.take("duo", 1, results, ()))
    return engine


def test_every_monitor_in_a_line_and_below_what_has_drifted(duo):
    head, drifted, broken, spread = duo.text("monitors", "duo").split("\n\n")
    columns, *rows = head.splitlines()
    assert columns.split() == [
        "MONITOR", "REVISION", "METHOD", "WATCHES", "STATE", "SCORE", "ROWS", "OUTLIERS"
    ]  # fmt: skip
    assert rows[0].split("  ")[0] == "inputs" and "DRIFT since 2001" in rows[0]
    assert rows[0].endswith("4 (1%)")
    assert "gathering its reference, 30 of 500 rows" in rows[1]
    assert "waiting for its first window, 30 of 200 rows" in rows[2]
    assert "failing" in rows[3] and broken == "broken: score() raised RuntimeError: no luck"
    title, _, worst, *others = drifted.splitlines()
    assert title == "inputs, r1, latest window:"
    assert worst.split() == ["x[0]", "3", "0.6", "1e-20"]
    assert len(others) == 9
    assert spread.splitlines()[0] == "spread, r1, all rows:"
    assert spread.splitlines()[-1].split() == ["x", "1.5", "-", "-", "1.25", "-", "-"]


def test_json_is_what_the_engine_says(duo):
    found = json.loads(duo.text("monitors", "duo", "-o", "json"))
    assert [one["monitor"] for one in found["monitors"]] == [
        "inputs", "first", "next", "broken", "spread"
    ]  # fmt: skip


def test_a_graph_without_monitors(engine):
    engine.text("deploy", engine.file(json.dumps(spec("duo", pick={"strategy": "weighted"}))))
    assert engine.text("monitors", "duo").strip() == "graph duo has no monitors"
