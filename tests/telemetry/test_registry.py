"""Cells, snapshots, and several of them as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.telemetry.definitions import (
    ACCESS_REFUSED,
    ARM_REQUESTS,
    ARM_REWARD_SUM,
    ARM_WEIGHT,
    BUNDLE_BYTES_SENT,
    METRICS,
    REQUEST_DURATION,
    REQUESTS_IN_FLIGHT,
)
from anabranch.telemetry.registry import (
    MAX_SERIES,
    OTHER,
    Exemplar,
    Observed,
    Registry,
    Snapshot,
    lasting,
    merged,
    minus,
)

ARM = ("digits", "3")
REQUEST = ("digits", "infer", "http")


def test_a_cell_is_the_same_for_the_same_labels() -> None:
    registry = Registry()
    assert registry.number(ARM_REQUESTS, *ARM) is registry.number(ARM_REQUESTS, *ARM)
    assert registry.number(ARM_REQUESTS, *ARM) is not registry.number(ARM_REQUESTS, "digits", "4")


def test_labels_are_those_of_the_metric() -> None:
    with pytest.raises(ValueError, match="anabranch_arm_requests_total has the labels"):
        Registry().number(ARM_REQUESTS, "digits")


def test_series_are_bounded() -> None:
    registry = Registry()
    for number in range(MAX_SERIES + 5):
        registry.number(ARM_REQUESTS, "digits", str(number)).value += 1
    cells = registry.snapshot()[ARM_REQUESTS.name]
    assert len(cells) == MAX_SERIES + 1
    assert cells["digits", OTHER] == 5


def test_a_value_on_a_bound_lies_below_it() -> None:
    registry = Registry()
    cell = registry.distribution(REQUEST_DURATION, *REQUEST)
    for seconds in (0.25, 0.2500001, 99.0):
        cell.observe(seconds)
    found = cell.read()
    bounds = REQUEST_DURATION.bounds
    assert [found.counts[bounds.index(bound)] for bound in (0.25, 0.5, bounds[-1])] == [1, 1, 1]
    assert (found.number, found.total) == (3, pytest.approx(99.5000001))


def test_a_cell_that_is_forgotten_is_gone() -> None:
    registry = Registry()
    registry.number(REQUESTS_IN_FLIGHT, "digits")
    registry.forget(REQUESTS_IN_FLIGHT, "digits")
    registry.forget(REQUESTS_IN_FLIGHT, "digits")
    assert registry.snapshot()[REQUESTS_IN_FLIGHT.name] == {}


def test_a_gauge_shows_what_there_is_and_drops_the_rest() -> None:
    registry = Registry()
    registry.show(REQUESTS_IN_FLIGHT, {("digits",): 1.0, ("iris",): 2.0})
    registry.show(REQUESTS_IN_FLIGHT, {("iris",): 3.0})
    assert registry.snapshot()[REQUESTS_IN_FLIGHT.name] == {("iris",): 3.0}


def test_of_two_exemplars_of_a_bucket_the_later_is_kept() -> None:
    place = REQUEST_DURATION.bounds.index(0.25)
    counts = tuple(int(index == place) for index in range(len(REQUEST_DURATION.bounds)))
    one, other = (
        {REQUEST_DURATION.name: {REQUEST: Observed(counts, 0.2, ((place, exemplar),))}}
        for exemplar in (Exemplar("new", 0.2, 2.0), Exemplar("old", 0.2, 1.0))
    )
    for both in ([one, other], [other, one]):
        found = merged(both)[REQUEST_DURATION.name][REQUEST]
        assert isinstance(found, Observed)
        assert (found.number, found.exemplars[0][1].trace_id) == (2, "new")


def test_gauges_go_together_as_they_say() -> None:
    one: Snapshot = {REQUESTS_IN_FLIGHT.name: {("digits",): 2}, ARM_WEIGHT.name: {ARM: 0.5}}
    other: Snapshot = {REQUESTS_IN_FLIGHT.name: {("digits",): 3}, ARM_WEIGHT.name: {ARM: 0.4}}
    assert merged([one, other]) == {
        REQUESTS_IN_FLIGHT.name: {("digits",): 5},
        ARM_WEIGHT.name: {ARM: 0.5},
    }


def test_what_lasts_are_sums() -> None:
    snapshot: Snapshot = {
        ARM_REQUESTS.name: {ARM: 3}, ARM_REWARD_SUM.name: {ARM: -1}, ARM_WEIGHT.name: {ARM: 1},
    }  # fmt: skip
    assert set(lasting(snapshot)) == {ARM_REQUESTS.name, ARM_REWARD_SUM.name}


amounts = st.lists(st.integers(0, 50), min_size=1, max_size=4)


@given(amounts, amounts)
def test_sums_are_what_was_before_and_what_came_since(first: list[int], then: list[int]) -> None:
    registry = Registry()

    def count(values: list[int]) -> Snapshot:
        for value in values:
            registry.number(ARM_REQUESTS, *ARM).value += value
            registry.distribution(REQUEST_DURATION, *REQUEST).observe(value)
        return registry.snapshot()

    before, after = count(first), count(then)
    assert merged([before, minus(after, before)]) == after


OF_NO_GRAPH = {ACCESS_REFUSED: ("door",), BUNDLE_BYTES_SENT: ()}
"""What is counted for the engine as a whole, with the first label."""


def test_definitions_follow_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("anabranch_") and name == metric.name
        assert name.endswith("_total") is (metric.kind == "counter")
        assert bool(metric.bounds) is (metric.kind == "histogram")
        assert "le" not in metric.labels
        assert metric.labels[:1] == OF_NO_GRAPH.get(metric, ("graph",))
        assert metric.help.endswith(".")
