"""The past of graphs: points from two kinds of sums, in a ring of bounded size."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest

from anabranch.control.observe.history import (
    INTERVAL_S,
    METRICS,
    MOST_ARMS,
    POINTS,
    TrafficHistory,
    shown,
)
from anabranch.router.measure.tally import Report, Tally
from anabranch.telemetry.definitions import REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT
from anabranch.telemetry.registry import Registry

G = "digits"


class GrowingSums:
    """Sums that grow by hand, and a history of them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.graphs = {G}
        self.registry = Registry()
        self.reports: dict[str, Report] = {}
        self.history = TrafficHistory(
            self.registry.snapshot,
            lambda graph: self.reports.get(graph, Report()),
            lambda: self.graphs,
            lambda: self.now,
        )

    def count(self, requests: int, code: str = "200", seconds: float = 0.2, graph: str = G) -> None:
        self.registry.number(REQUESTS, graph, "infer", "http", code).value += requests
        cell = self.registry.distribution(REQUEST_DURATION, graph, "infer", "http")
        for _ in range(requests):
            cell.observe(seconds)

    def arm(self, number: int, requests: int, errors: int = 0, seconds: float = 0.01) -> None:
        tally = Tally()
        for index in range(requests):
            if index < errors:
                tally.fail("NodeError", seconds)
            else:
                tally.record(seconds)
        report = self.reports.get(G, Report())
        self.reports[G] = Report({**report.arms, number: report.arm(number).plus(tally)}, {})

    def tick(self, points: int = 1) -> None:
        for _ in range(points):
            self.history.take()
            self.now += INTERVAL_S


@pytest.fixture
def engine() -> GrowingSums:
    engine = GrowingSums()
    engine.tick()
    return engine


def last(values: Any) -> Any:
    return shown(values)[-1]


def test_a_point_has_the_numbers_of_the_last_seconds(engine: GrowingSums) -> None:
    engine.count(40)
    engine.count(10, code="500")
    engine.registry.number(REQUESTS_IN_FLIGHT, G).value = 3
    engine.tick()
    past = engine.history.past(G)
    assert past.at == [1000.0 + INTERVAL_S]
    found = {field: last(values) for field, values in past.total.items()}
    assert (found["per_second"], found["error_rate"], found["in_flight"]) == (10.0, 0.2, 3.0)
    assert found["p50"] is not None and found["p50"] <= found["p99"]


def test_what_was_counted_before_the_first_look_is_in_no_point() -> None:
    engine = GrowingSums()
    engine.count(1000)
    engine.tick(2)
    assert engine.history.past(G).total["per_second"] == [0.0]


def test_without_requests_there_is_no_latency_and_no_error_rate(engine: GrowingSums) -> None:
    engine.count(5)
    engine.tick(2)
    past = engine.history.past(G)
    assert past.total["per_second"] == [1.0, 0.0]
    assert isnan(past.total["p50"][1]) and isnan(past.total["error_rate"][1])


def test_arms_have_the_numbers_that_rollouts_judge_by(engine: GrowingSums) -> None:
    engine.arm(1, 100)
    engine.arm(2, 20, errors=5, seconds=0.1)
    engine.tick()
    engine.arm(1, 50)
    engine.tick()
    arms = engine.history.past(G).arms
    assert shown(arms[1]["per_second"]) == [20.0, 10.0]
    assert shown(arms[2]["per_second"]) == [4.0, 0.0]
    assert shown(arms[2]["error_rate"]) == [0.25, None]
    assert shown(arms[2]["p95"])[0] == pytest.approx(0.1, rel=0.03)


def test_an_arm_that_begins_later_has_no_numbers_before(engine: GrowingSums) -> None:
    engine.arm(1, 5)
    engine.tick(2)
    engine.arm(2, 5)
    engine.tick()
    assert shown(engine.history.past(G).arms[2]["per_second"]) == [None, None, 1.0]


def test_a_revision_without_requests_has_no_past(engine: GrowingSums) -> None:
    engine.reports[G] = Report({7: Tally()}, {})
    engine.tick()
    assert engine.history.past(G).arms == {}


def test_after_two_hours_the_oldest_points_go(engine: GrowingSums) -> None:
    engine.count(500)
    engine.arm(1, 500)
    engine.tick(POINTS + 10)
    past = engine.history.past(G)
    assert len(past.at) == len(past.total["p50"]) == POINTS
    assert past.at == sorted(past.at) and past.at[0] == 1000.0 + 11 * INTERVAL_S
    assert max(past.total["per_second"]) == 0.0
    assert past.arms == {}


def test_fewer_points_are_the_newest(engine: GrowingSums) -> None:
    engine.tick(5)
    whole, few = engine.history.past(G), engine.history.past(G, 2)
    assert few.at == whole.at[-2:]
    assert engine.history.past(G, 0).at == []


def test_the_arms_with_the_latest_requests_are_kept(engine: GrowingSums) -> None:
    for number in range(1, 2 * MOST_ARMS + 1):
        engine.arm(number, 1)
        engine.tick()
    expected = range(MOST_ARMS + 1, 2 * MOST_ARMS + 1)
    assert list(engine.history.past(G).arms) == list(expected)


def test_a_hundred_graphs_take_what_the_docs_say(engine: GrowingSums) -> None:
    engine.graphs = {f"g{number}" for number in range(100)}
    one = Report({1: Tally(requests=1)}, {})
    engine.reports = dict.fromkeys(engine.graphs, one)
    engine.tick()
    assert engine.history.size() == 100 * (34_560 + 28_800) + 11_520
    many = Report({number: Tally(requests=9) for number in range(10)}, {})
    engine.reports = dict.fromkeys(engine.graphs, many)
    engine.tick()
    assert engine.history.size() == 100 * (34_560 + MOST_ARMS * 28_800) + 11_520


def test_all_graphs_together(engine: GrowingSums) -> None:
    engine.graphs.add("other")
    engine.count(5)
    engine.count(10, graph="other")
    engine.tick(2)
    assert engine.history.rates(2) == (
        [1005.0, 1010.0],
        {G: [1.0, 0.0], "other": [2.0, 0.0]},
    )


def test_a_graph_that_is_gone_is_forgotten(engine: GrowingSums) -> None:
    engine.count(5)
    engine.tick()
    engine.graphs.clear()
    engine.tick()
    assert shown(engine.history.past(G).total["per_second"]) == [None, None]
    assert engine.history.rates(9)[1] == {}


def test_the_metrics_that_are_asked_for_are_enough(engine: GrowingSums) -> None:
    engine.count(5)
    assert engine.registry.snapshot().keys() <= METRICS
