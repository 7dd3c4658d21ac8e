from __future__ import annotations

import numpy as np

from anabranch import Graph
from anabranch.graph.compile.loading import load_text
from benchmarks.contenders import (
    CONTENDERS,
    GRAPH,
    HANDLE,
    ISOLATED,
    OURS,
    SERVERS,
    SINGLE,
    UVICORN,
)
from benchmarks.in_process import Figure, spec_of
from benchmarks.load import Load
from benchmarks.report import added_ms, ratios, report, to_markdown
from benchmarks.rounds import Measured

BY_NAME = {one.name: one for one in CONTENDERS}


def measured(name: str, p50: float, *rates: float) -> Measured:
    found = Measured(BY_NAME[name])
    for loads in found.loads.values():
        loads += [Load(p50=p50, p99=2 * p50, rate=rate, answered=9, failed=1) for rate in rates]
    return found


def test_medians_ignore_one_bad_round_but_count_its_failures() -> None:
    load = measured(OURS, 1.0, 10, 90, 100).median(32)
    assert load is not None
    assert load.rate == 90
    assert load.failed == 3


def test_ratios_and_hops() -> None:
    assert ratios(measured(OURS, 1, 90), measured(SINGLE, 1, 100)) == {1: 0.9, 32: 0.9}
    assert added_ms(measured(OURS, 0.25, 1), measured(ISOLATED, 1.75, 1)) == 1.5
    assert added_ms(measured(OURS, 0.25, 1), None) is None


def test_the_report_judges_goals_and_says_what_was_not_measured() -> None:
    failed = Measured(BY_NAME[HANDLE], problem="it ended with 1")
    found = report(
        [Figure("executor", 16.0, "µs a request", 15)],
        [measured(OURS, 0.2, 90), measured(SINGLE, 0.2, 100), failed],
    )
    alone, http, derived = found.groups
    assert alone[0][-3:] == ("16 µs a request", "≤ 15", "no")
    assert http[1][-3:] == ("0.90 ×, 0.90 ×", "≥ 0.8 ×", "yes")
    assert http[2][8] == "not measured"
    assert [(row[0], *row[-3:]) for row in derived] == [
        ("p99 at 1 connection, one segment", "2.0 × the p50", "≤ 3 ×", "yes")
    ]
    assert found.problems == [f"{BY_NAME[HANDLE].title}: it ended with 1"]
    lines = to_markdown(found).splitlines()
    assert {line.count("|") for line in lines} == {12}


def test_the_report_judges_each_number_of_connections_by_its_own_goal() -> None:
    hop = [measured(SINGLE, 0.2, 100), measured(HANDLE, 1.2, 100), measured(ISOLATED, 0.35, 40)]
    found = report([], [measured(OURS, 0.2, 90), measured(UVICORN, 0.2, 100), *hop])
    _, http, derived = found.groups
    assert http[1][-3:] == ("0.90 ×, 0.90 ×", "≥ 1, 0.6 ×", "no")
    judged = {row[0]: row[-3:] for row in derived}
    assert judged["one node isolated, against one segment"] == ("0.44 ×", "≥ 0.5 ×", "no")
    assert judged["a hop adds, anabranch"] == ("0.15 × its time", "≤ 0.2 ×, ≤ 0.3 ms", "yes")


def test_every_contender_is_there() -> None:
    assert len(BY_NAME) == len(CONTENDERS)
    for one in CONTENDERS:
        assert (SERVERS / one.script).is_file()
        assert one.spec is None or (GRAPH / one.spec).is_file()


def test_the_two_graphs_give_the_same_and_differ_by_one_hop() -> None:
    fused, isolated = (Graph.load(GRAPH / name) for name in ("graph.yaml", "isolated.yaml"))
    assert fused.plan.critical_path_hops == 0
    assert isolated.plan.critical_path_hops == 1
    inputs = {"x": np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)}
    assert fused.run(inputs)["y"].tolist() == isolated.run(inputs)["y"].tolist()
    fused.close()
    isolated.close()


def test_the_large_spec_compiles() -> None:
    assert len(load_text(spec_of(40)).plan.nodes) == 40
