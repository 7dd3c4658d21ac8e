from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.measure.tally import (
    ACCURACY,
    LONGEST,
    MAX_FORMER,
    MAX_KINDS,
    OTHER,
    SHORTEST,
    Histogram,
    Judged,
    MirrorTally,
    Report,
    Rewards,
    Tally,
    TokenSums,
    keep_latest,
    merged,
)
from tests.examples import examples

QUICK = settings(max_examples=examples(60), deadline=None)

counts = st.integers(1, 10**6)
durations = st.floats(SHORTEST, LONGEST, allow_nan=False)
histograms = st.builds(Histogram, st.dictionaries(st.integers(-345, 288), counts, max_size=4))
kinds = st.dictionaries(st.sampled_from(["NodeError", "Unavailable", "other"]), counts)
bins = st.dictionaries(st.integers(0, 3) | st.sampled_from(["=a", "nan", "#7"]), counts, min_size=1)
sums = st.integers(-(10**6), 10**6).map(float)  # whole, so that they add up in any order
rewards = st.builds(
    Rewards, count=counts, total=sums, squares=sums.map(abs), right=counts, judged=counts
)
tokens = st.builds(
    TokenSums,
    first=histograms, further=histograms,
    answers=counts, prompt=counts, completion=counts, microseconds=counts,
)  # fmt: skip
tallies = st.builds(
    Tally,
    rewards=rewards,
    tokens=tokens,
    routes=st.dictionaries(
        st.tuples(st.just("chooser"), st.sampled_from(["forest", "net"])), rewards, max_size=2
    ),
    repeated=counts,
    requests=counts,
    errors=counts,
    kinds=kinds,
    latency=histograms,
    outputs=st.dictionaries(st.sampled_from(["y", "z"]), bins),
)
mirror_tallies = st.builds(
    MirrorTally,
    **{one.name: counts for one in fields(MirrorTally) if one.type == "int"},  # pending among them
    kinds=kinds,
    latency=histograms,
    primary=histograms,
)
revisions = st.integers(1, 3)
reports = st.builds(
    Report,
    arms=st.dictionaries(revisions, tallies, max_size=2),
    mirrors=st.dictionaries(revisions, mirror_tallies, max_size=2),
)
ANY = pytest.mark.parametrize(
    "kind", [histograms, rewards, tokens, tallies, mirror_tallies, reports]
)


def filled(seconds: Any) -> Histogram:
    histogram = Histogram()
    for one in seconds:
        histogram.add(float(one))
    return histogram


# Histograms


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_nothing_has_no_quantile(share: float) -> None:
    assert Histogram().quantile(share) is None


@QUICK
@given(durations)
def test_one_duration_is_every_quantile(seconds: float) -> None:
    histogram = filled([seconds])
    for share in (0.0, 0.3, 0.5, 1.0):
        assert histogram.quantile(share) == pytest.approx(seconds, rel=ACCURACY + 1e-9)
    assert histogram.total == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.lognormal(-5, 2, 5000),
        lambda random: random.exponential(0.004, 5000),
        lambda random: random.uniform(1e-5, 10, 5000),
        lambda random: random.pareto(1.1, 5000) + 1e-4,
        lambda random: np.repeat([0.001, 1.0], 500),
    ],
)
def test_quantiles_are_within_two_percent(draw: Callable[[Any], Any]) -> None:
    data = draw(np.random.default_rng(7))
    histogram = filled(data)
    for share in (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0):
        low = np.quantile(data, share, method="lower")
        assert histogram.quantile(share) == pytest.approx(low, rel=ACCURACY + 1e-9)


@QUICK
@given(st.lists(durations, min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_near_the_duration_at_its_position(data: list[float], share: float) -> None:
    true = sorted(data)[math.floor(share * (len(data) - 1))]
    assert filled(data).quantile(share) == pytest.approx(true, rel=ACCURACY + 1e-9)


@QUICK
@given(histograms, st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_quantiles_grow_with_the_share(histogram: Histogram, shares: list[float]) -> None:
    found = [histogram.quantile(share) or 0.0 for share in sorted(shares)]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("seconds", "counted"),
    [
        (0.0, SHORTEST),
        (-1.0, SHORTEST),
        (1e-300, SHORTEST),
        (math.nan, SHORTEST),
        (-math.inf, SHORTEST),
        (SHORTEST, SHORTEST),
        (LONGEST, LONGEST),
        (1e300, LONGEST),
        (math.inf, LONGEST),
    ],
)
def test_durations_beyond_the_bounds_count_as_these(seconds: float, counted: float) -> None:
    assert filled([seconds]).quantile(0.5) == pytest.approx(counted, rel=ACCURACY + 1e-9)
    assert filled([seconds]) == filled([counted])


def test_there_are_so_many_bins_at_most() -> None:
    assert len(filled(np.geomspace(1e-9, 1e9, 20_000)).counts) == 634


# Sums and differences


@ANY
@QUICK
@given(st.data())
def test_a_sum_less_one_part_is_the_other(kind: st.SearchStrategy[Any], data: Any) -> None:
    one, other = data.draw(kind), data.draw(kind)
    back = one.plus(other).minus(one)
    assert without_pending(pruned(back)) == without_pending(pruned(other))


@ANY
@QUICK
@given(st.data())
def test_sums_are_the_same_in_any_order(kind: st.SearchStrategy[Any], data: Any) -> None:
    one, two, three = (data.draw(kind) for _ in range(3))
    assert one.plus(two).plus(three) == one.plus(two.plus(three)) == three.plus(one).plus(two)


@ANY
@QUICK
@given(st.data())
def test_the_empty_one_adds_nothing(kind: st.SearchStrategy[Any], data: Any) -> None:
    one = data.draw(kind)
    empty = type(one)()
    assert one.plus(empty) == empty.plus(one) == one.minus(empty) == one


@ANY
@QUICK
@given(st.data())
def test_differences_are_never_negative_and_hold_no_zeros(
    kind: st.SearchStrategy[Any], data: Any
) -> None:
    one, other = data.draw(kind), data.draw(kind)
    assert all(number >= 0 for number in numbers(one.minus(other)))
    nothing = one.minus(one)
    assert without_pending(pruned(nothing)) == type(one)()


@ANY
@QUICK
@given(st.data())
def test_results_share_nothing_with_what_they_came_from(
    kind: st.SearchStrategy[Any], data: Any
) -> None:
    one, other = data.draw(kind), data.draw(kind)
    before = pickle.dumps((one, other))
    for result in (one.plus(other), one.minus(other), one.plus(type(one)())):
        spoil(result)
    assert pickle.dumps((one, other)) == before


def numbers(value: Any) -> list[int]:
    """Return every count in a sum; sums of rewards may be below zero."""
    if isinstance(value, int | float):
        return [value] if isinstance(value, int) else []
    inner = value.values() if isinstance(value, dict) else parts(value)
    return [number for one in inner for number in numbers(one)]


def parts(value: Any) -> list[Any]:
    return [getattr(value, one.name) for one in fields(value)]


def pruned(value: Any) -> Any:
    """Leave out of a report the revisions of which nothing was counted."""
    if not isinstance(value, Report):
        return value
    return Report(
        {n: one for n, one in value.arms.items() if one != Tally()},
        {n: one for n, one in value.mirrors.items() if replace(one, pending=0) != MirrorTally()},
    )


def without_pending(value: Any) -> Any:
    if isinstance(value, MirrorTally):
        return replace(value, pending=0)
    if isinstance(value, Report):
        return Report(value.arms, {n: replace(m, pending=0) for n, m in value.mirrors.items()})
    return value


def spoil(value: Any) -> None:
    """Change every table in a sum."""
    if isinstance(value, dict):
        for one in value.values():
            spoil(one)
        value.clear()
    elif isinstance(value, Rewards):
        value.add(7.0, Judged(1, 1))
    elif not isinstance(value, int):
        for one in parts(value):
            spoil(one)


def test_a_router_that_started_anew_counts_from_zero() -> None:
    before = Tally(requests=100, errors=5, kinds={"NodeError": 5}, latency=Histogram({3: 100}))
    after = Tally(requests=7, latency=Histogram({3: 6, 4: 1}))
    assert after.minus(before) == Tally(latency=Histogram({4: 1}))


def test_pending_copies_are_those_of_now() -> None:
    now, then = MirrorTally(pending=3), MirrorTally(pending=9)
    assert now.minus(then).pending == 3
    assert now.plus(then).pending == 12


# Rewards


def rewarded(*values: float) -> Rewards:
    found = Rewards()
    for value in values:
        found.add(value, None)
    return found


def test_nothing_has_no_mean_and_one_reward_no_error() -> None:
    assert (Rewards().mean, Rewards().error, Rewards().accuracy) == (None, None, None)
    assert (rewarded(2.0).mean, rewarded(2.0).error) == (2.0, None)


def test_mean_and_error_are_those_of_the_sample() -> None:
    data = np.random.default_rng(5).normal(-3, 2, 500)
    found = rewarded(*data)
    assert found.mean == pytest.approx(data.mean())
    assert found.error == pytest.approx(data.std(ddof=1) / math.sqrt(500))
    assert rewarded(*[0.1] * 9).error == pytest.approx(0, abs=1e-8)


def test_accuracy_is_the_share_of_rows_that_were_right() -> None:
    found = rewarded(1.0)
    found.add(0.5, Judged(right=1, rows=2))
    found.add(0.0, Judged(right=0, rows=1))
    assert found.accuracy == pytest.approx(1 / 3)


def test_a_window_may_hold_less_than_nothing() -> None:
    before = rewarded(1.0, 2.0)
    assert rewarded(1.0, 2.0, -7.0).minus(before) == Rewards(1, -7.0, 49.0, outside=1)


def test_a_reward_counts_for_every_route_on_the_way() -> None:
    tally = Tally()
    tally.reward(1.0, Judged(1, 1), {"a": "x", "b": "y"})
    tally.reward(0.0, None, {"a": "z"})
    assert (tally.rewards.count, tally.rewards.accuracy) == (2, 1.0)
    assert {route: found.mean for route, found in tally.routes.items()} == {
        ("a", "x"): 1.0, ("b", "y"): 1.0, ("a", "z"): 0.0,
    }  # fmt: skip


# Tallies


def test_every_request_counts_and_every_error_by_kind() -> None:
    tally = Tally()
    tally.record(0.01)
    tally.fail("NodeError", 0.02)
    tally.fail("NodeError", 0.02)
    tally.fail("Unavailable", 0.04)
    assert (tally.requests, tally.errors) == (4, 3)
    assert tally.kinds == {"NodeError": 2, "Unavailable": 1}
    assert tally.latency.total == 4


@pytest.mark.parametrize("fail", [lambda tally, kind: tally.fail(kind, 0.1), MirrorTally.fail])
def test_kinds_of_errors_are_bounded(fail: Callable[[Any, str], None]) -> None:
    tally = MirrorTally() if fail is MirrorTally.fail else Tally()
    for number in range(100):
        fail(tally, f"Error{number}")
        fail(tally, "Error0")
    assert tally.errors == sum(tally.kinds.values()) == 200
    assert len(tally.kinds) == MAX_KINDS + 1
    assert tally.kinds["Error0"] == 101
    assert tally.kinds[OTHER] == 100 - MAX_KINDS


# Reports


def test_an_unknown_revision_has_an_empty_tally_that_is_not_kept() -> None:
    report = Report()
    report.arm(3).record(0.1)
    report.mirror(3).selected = 1
    assert report == Report()
    assert report.arm(3) == Tally()
    assert report.mirror(3) == MirrorTally()


def test_a_known_revision_has_its_own_tally() -> None:
    tally, mirror = Tally(requests=1), MirrorTally(selected=1)
    report = Report({3: tally}, {4: mirror})
    assert report.arm(3) is tally
    assert report.mirror(4) is mirror


@QUICK
@given(st.lists(reports, max_size=4))
def test_merged_is_the_sum(several: list[Report]) -> None:
    result = merged({str(number): one for number, one in enumerate(several)})
    expected = Report()
    for one in several:
        expected = expected.plus(one)
    assert result == expected


def test_merged_of_one_is_a_copy() -> None:
    report = Report({1: Tally(requests=1)})
    result = merged({"a": report})
    assert result == report
    assert result is not report


def test_reports_pickle_small() -> None:
    random = np.random.default_rng(0)
    tally = Tally(10_000, 10, {"NodeError": 10}, filled(random.lognormal(-6, 1, 10_000)))
    mirror = MirrorTally(latency=tally.latency, primary=filled(random.lognormal(-6, 1, 10_000)))
    report = Report({1: tally, 2: tally.plus(Tally())}, {3: mirror})
    data = pickle.dumps(report)
    assert pickle.loads(data) == report
    assert len(data) < 6000


@settings(max_examples=examples(50))
@given(tables=st.lists(st.frozensets(st.integers(1, 200), min_size=1, max_size=8), max_size=30))
def test_sums_are_kept_of_the_current_revisions_and_the_last_others(
    tables: list[frozenset[int]],
) -> None:
    tallies: dict[int, Tally] = {}
    before: frozenset[int] = frozenset()
    for table in tables:
        for revision in table:
            tallies.setdefault(revision, Tally())
        had = set(tallies)
        keep_latest(tallies, table)
        assert tallies.keys() >= table | before
        assert len(tallies) == min(len(had), len(table) + MAX_FORMER)
        before = table
