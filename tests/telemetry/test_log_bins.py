"""Quantiles of numbers that were counted in bins are as accurate as the bins."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.telemetry.log_bins import LogBins, quantile

ACCURACY = 0.02
BINS = LogBins(ACCURACY)


def bin_of(number: float) -> int:
    return math.ceil(math.log(number) * BINS.per_log)


@given(st.floats(1e-6, 1e6))
def test_the_middle_of_a_bin_is_near_its_numbers(number: float) -> None:
    assert BINS.middle(bin_of(number)) == pytest.approx(number, rel=ACCURACY * (1 + 1e-9))


@given(
    numbers=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50),
    share=st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(0, 1)),
)
def test_a_quantile_is_near_that_of_the_numbers(numbers: list[float], share: float) -> None:
    counts = sorted(Counter(map(bin_of, numbers)).items())
    found = quantile(counts, len(numbers), share)
    assert found is not None
    exact = sorted(numbers)[int(share * (len(numbers) - 1))]
    assert BINS.middle(found) == pytest.approx(exact, rel=ACCURACY * (1 + 1e-9))


def test_no_numbers_have_no_quantile() -> None:
    assert quantile([], 0, 0.5) is None
