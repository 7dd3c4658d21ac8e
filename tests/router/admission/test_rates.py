from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.admission.rates import Bucket

gaps = st.lists(st.floats(0, 5), min_size=1, max_size=60)
rates, sizes = st.floats(0.1, 50), st.floats(1, 20)


def admitted(bucket: Bucket, times: list[float]) -> list[float]:
    """The times of those that are let in."""
    found = []
    for now in times:
        if not bucket.wait(now, 1.0):
            bucket.take(now)
            found.append(now)
    return found


@given(gaps, rates, sizes)
def test_no_time_has_more_than_the_rate_and_one_burst(
    gaps: list[float], rate: float, size: float
) -> None:
    times = admitted(Bucket(rate, size, 0.0), list(itertools.accumulate(gaps)))
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first + 1 <= size + rate * (times[last] - times[first]) + 1e-6


@given(gaps, rates, sizes)
def test_after_the_wait_there_is_one(gaps: list[float], rate: float, size: float) -> None:
    bucket, now = Bucket(rate, size, 0.0), 0.0
    for gap in gaps:
        now += gap
        wait = bucket.wait(now, 1.0)
        assert wait <= 1 / rate + 1e-9
        now += wait * (1 + 1e-9) + 1e-9
        assert bucket.wait(now, 1.0) <= 1e-6
        bucket.take(now)


def test_what_was_taken_too_much_has_to_come_back() -> None:
    bucket = Bucket(2.0, 10.0, 0.0)
    bucket.take(0.0, 16.0)
    assert bucket.level(0.0) == -6.0
    assert bucket.wait(0.0, 1.0) == 3.5
    assert bucket.wait(3.5, 1.0) == 0.0
    assert bucket.level(1e9) == 10.0


def test_a_clock_that_stands_or_is_late_gives_nothing() -> None:
    bucket = Bucket(1.0, 1.0, 5.0)
    bucket.take(5.0)
    assert bucket.wait(5.0, 1.0) == bucket.wait(4.0, 1.0) == 1.0


@pytest.mark.parametrize(("size", "level"), [(2.0, 2.0), (8.0, 3.0)])
def test_another_size_gives_nothing_and_keeps_what_fits(size: float, level: float) -> None:
    bucket = Bucket(1.0, 4.0, 0.0)
    bucket.take(0.0)
    bucket.resize(3.0, size, 0.0)
    assert bucket.level(0.0) == level
