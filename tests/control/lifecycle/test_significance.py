"""The sequential test: its bets are fair, it keeps its error at every look, and it has power."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.control.lifecycle.significance import (
    MIN_BLOCK,
    Evidence,
    Hypothesis,
    Observations,
    Pair,
    Trial,
    log_bets,
    log_mean,
)
from tests.examples import examples

ERROR = 0.05
Z_95, Z_80 = 1.959964, 0.841621
"""Quantiles of the normal distribution: of a two-sided test with 5 %, and of 80 % power."""
means = st.floats(0.01, 0.99)
samples = st.integers(0, 1000).flatmap(
    lambda n: st.floats(0, 1).map(lambda share: Observations(n, n * share))
)


def rejected_at(
    mean_a: float,
    mean_b: float,
    *,
    runs: int,
    looks: int,
    block: tuple[int, int],
    hypothesis: Hypothesis = "equal",
    difference: float = 0.0,
    seed: int = 1,
) -> Any:
    """The look at which each run rejects the hypothesis, infinity where none does.

    At each look both arms have a block more of observations of 0 or 1.
    """
    rng = np.random.default_rng(seed)
    none = np.zeros(runs)
    seen = Pair(Observations(none, none), Observations(none, none))  # type: ignore[arg-type]
    wealth: Any = 0.0
    found = np.full(runs, np.inf)
    for look in range(1, looks + 1):
        more = Pair(
            *(
                Observations(np.full(runs, float(n)), rng.binomial(n, mean, runs).astype(float))  # type: ignore[arg-type]
                for n, mean in zip(block, (mean_a, mean_b), strict=True)
            )
        )
        if look > 1:
            wealth = wealth + log_bets(more, seen, hypothesis, difference)
            rejects = log_mean(wealth) >= math.log(1 / ERROR)
            found = np.where(rejects & np.isinf(found), look, found)
        seen = seen.plus(more)
    return found


def keeps_its_error(runs: int, looks: int, **case: Any) -> None:
    wrong = np.isfinite(rejected_at(runs=runs, looks=looks, **case)).sum()
    assert wrong <= runs * ERROR + 4 * math.sqrt(runs * ERROR * (1 - ERROR))


A_A: list[dict[str, Any]] = [
    {"mean_a": 0.5, "mean_b": 0.5, "block": (50, 50)},
    {"mean_a": 0.01, "mean_b": 0.01, "block": (50, 50)},
    {"mean_a": 0.1, "mean_b": 0.1, "block": (20, 180)},
    {
        "mean_a": 0.11,
        "mean_b": 0.1,
        "block": (50, 50),
        "hypothesis": "at_most",
        "difference": 0.01,
    },
    {
        "mean_a": 0.08,
        "mean_b": 0.1,
        "block": (20, 180),
        "hypothesis": "at_least",
        "difference": -0.02,
    },
]


@pytest.mark.parametrize("case", A_A)
def test_a_run_without_a_difference_is_rarely_rejected_at_any_look(case: dict[str, Any]) -> None:
    # A difference other than 0 takes a search at each look.
    keeps_its_error(200 if "difference" in case else 1000, 20, **case)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("case", A_A)
def test_ten_thousand_runs_keep_the_stated_error_at_a_hundred_looks(case: dict[str, Any]) -> None:
    keeps_its_error(10_000, 100, **case)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(("mean_a", "mean_b"), [(0.12, 0.10), (0.55, 0.5), (0.02, 0.01)])
def test_the_power_is_that_of_a_fixed_sample_of_half_the_size(mean_a: float, mean_b: float) -> None:
    """As docs/experiments.md says."""
    spread = mean_a * (1 - mean_a) + mean_b * (1 - mean_b)
    fixed = (Z_95 + Z_80) ** 2 * spread / (mean_a - mean_b) ** 2
    looks = 100
    block = math.ceil(3.5 * fixed / looks)
    found = rejected_at(mean_a, mean_b, runs=1000, looks=looks, block=(block, block)) * block
    assert 2.0 <= np.quantile(found, 0.8) / fixed <= 2.3
    assert 1.35 <= np.minimum(found, looks * block).mean() / fixed <= 1.6


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)), means, means, samples, samples,
    st.sampled_from(["equal", "at_most", "at_least"]), st.sampled_from([0.0, 0.1, -0.3]),
)  # fmt: skip
def test_no_bet_is_in_favour_of_the_gambler(
    sizes: tuple[int, int],
    mean_a: float,
    mean_b: float,
    seen_a: Observations,
    seen_b: Observations,
    hypothesis: Hypothesis,
    difference: float,
) -> None:
    """Whatever means the hypothesis allows, and whatever was seen before."""
    mean_a = {
        "equal": min(max(mean_b + difference, 0.0), 1.0),
        "at_most": min(mean_a, max(mean_b + difference, 0.0)),
        "at_least": max(mean_a, min(mean_b + difference, 1.0)),
    }[hypothesis]
    if hypothesis == "equal":
        mean_b = mean_a - difference
    if not 0 <= mean_b <= 1 or (mean_a - mean_b - difference) * _SIDE[hypothesis] < -1e-12:
        return  # no mean of b goes with it
    n_a, n_b = sizes
    expected = 0.0
    for s_a, s_b in itertools.product(range(n_a + 1), range(n_b + 1)):
        block = Pair(Observations(n_a, s_a), Observations(n_b, s_b))
        bets = np.exp(log_bets(block, Pair(seen_a, seen_b), hypothesis, difference))
        expected += bets * _chance(n_a, s_a, mean_a) * _chance(n_b, s_b, mean_b)
    assert np.all(expected <= 1 + 1e-6)


_SIDE = {"equal": 0, "at_most": -1, "at_least": 1}


def _chance(n: int, s: int, mean: float) -> float:
    return math.comb(n, s) * mean**s * (1 - mean) ** (n - s)


def test_no_bet_is_in_favour_where_arms_are_very_unequal_and_all_turns_over() -> None:
    """With means of 1 the block is certain, so each bet itself is its mean."""
    seen = Pair(Observations(100_000, 0), Observations(100_000, 0))
    block = Pair(Observations(3_000_000, 3_000_000), Observations(10, 10))
    assert log_bets(block, seen, "at_least", -0.02).max() < 1e-3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), samples, samples)
def test_a_bet_on_values_in_between_is_at_most_the_mean_of_bets_on_0_and_1(
    values: list[float], seen_a: Observations, seen_b: Observations
) -> None:
    """So a value counts as that share of a 1, and its mean alone matters."""

    def bets(total: float) -> Any:
        block = Pair(Observations(len(values), total), Observations(1, 1))
        return np.exp(log_bets(block, Pair(seen_a, seen_b), "equal", 0.0))

    rounded = sum(
        bets(sum(ones))
        * math.prod(v if one else 1 - v for v, one in zip(values, ones, strict=True))
        for ones in itertools.product((0, 1), repeat=len(values))
    )
    assert np.all(bets(sum(values)) <= rounded * (1 + 1e-9))


def observed(a: float, b: float, blocks: int, size: int = 100) -> Evidence:
    """Evidence after blocks in which the arms have these means."""
    found = Evidence()
    for _ in range(blocks):
        found = found.plus(Pair(Observations(size, size * a), Observations(size, size * b)))
    return found


def test_a_difference_is_found_and_an_equal_arm_is_not() -> None:
    assert observed(0.5, 0.3, 10).rejects(ERROR)
    assert observed(0.3, 0.5, 10).rejects(ERROR)
    assert not observed(0.3, 0.3, 100).rejects(0.9)


def test_nothing_is_bet_on_the_first_block() -> None:
    assert observed(1.0, 0.0, 1).p_value == 1.0
    assert observed(1.0, 0.0, 2).p_value < 1e-9


def test_each_side_of_a_limit_has_evidence_of_its_own() -> None:
    trial = Trial(Evidence("at_most", 0.05), Evidence("at_least", 0.05))
    worse, fine = trial, trial
    for _ in range(10):
        worse = worse.plus(Pair(Observations(500, 100), Observations(500, 25)), 0)
        fine = fine.plus(Pair(Observations(500, 25), Observations(500, 25)), 0)
    assert worse.at_most.rejects(ERROR)
    assert not worse.at_least.rejects(0.9)
    assert fine.at_least.rejects(ERROR)
    assert not fine.at_most.rejects(0.9)


def test_a_block_waits_for_both_arms_and_loses_nothing() -> None:
    found = Evidence()
    for _ in range(MIN_BLOCK - 1):
        found = found.plus(Pair(Observations(1, 1), Observations(5, 0)))
    assert (found.wealth, found.seen) == ((), Pair())
    assert found.all == Pair(Observations(9, 9), Observations(45, 0))
    found = found.plus(Pair(Observations(1, 1), Observations()))
    assert found.seen == found.all == Pair(Observations(10, 10), Observations(45, 0))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=6))
@settings(max_examples=examples(40))
def test_a_p_value_never_grows_and_survives_json(blocks: list[tuple[float, float]]) -> None:
    found = Evidence("at_most", 0.1)
    before = 1.0
    for a, b in blocks:
        found = found.plus(Pair(Observations(20, 20 * a), Observations(30, 30 * b)))
        assert 0 <= found.p_value <= before
        before = found.p_value
        trial = Trial(found, found, 3)
        assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


def test_observations_outside_0_and_1_stop_the_test() -> None:
    trial = Trial(Evidence("at_most"), Evidence("at_least"))
    more = Pair(Observations(100, 50), Observations(100, 50))
    stopped = trial.plus(more, 0).plus(Pair(Observations(1, 7.0), Observations()), 1).plus(more, 0)
    assert (stopped.outside, stopped.at_most) == (1, trial.plus(more, 0).at_most)
