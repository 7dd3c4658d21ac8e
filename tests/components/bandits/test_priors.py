from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.bandits import RouteSums, State
from anabranch.components.bandits.priors import Beta, Gaussian, PriorMean, read, unit_information

units = st.lists(st.floats(0, 1), max_size=20)
numbers = st.lists(st.floats(-1e3, 1e3), max_size=20)
positive = st.floats(0.1, 100)


def sums(values: list[float]) -> RouteSums:
    state = State.empty(("a",))
    for value in values:
        state = state.after("a", value)
    return state.routes["a"]


@given(units, positive, positive)
def test_a_beta_counts_successes_and_failures(
    values: list[float], alpha: float, beta: float
) -> None:
    found = Beta(alpha, beta).after(sums(values))
    won = math.fsum(values)
    assert found.alpha == pytest.approx(alpha + won)
    assert found.beta == pytest.approx(beta + len(values) - won)
    assert found.mean == pytest.approx((alpha + won) / (alpha + beta + len(values)))


@given(numbers, st.floats(-1e3, 1e3), positive, positive, positive)
def test_a_gaussian_is_updated_as_its_closed_form_says(
    values: list[float], mean: float, weight: float, shape: float, scale: float
) -> None:
    found = Gaussian(mean, weight, shape, scale).after(sums(values))
    count, x = len(values), np.array(values)
    assert found.weight == weight + count
    assert found.mean == pytest.approx((weight * mean + x.sum()) / found.weight, abs=1e-6)
    assert found.shape == shape + count / 2
    # Murphy 2007, equations 86 to 89, without sums of squares about another mean.
    exact = scale + (x @ x + weight * mean**2 - found.weight * found.mean**2) / 2
    assert found.scale == pytest.approx(exact, rel=1e-6, abs=1e-3)
    assert found.width == pytest.approx(math.sqrt(found.scale / (found.shape * found.weight)))


@given(numbers, st.floats(-1e3, 1e3), positive)
def test_a_mean_counts_as_its_weight_of_rewards(
    values: list[float], mean: float, weight: float
) -> None:
    found = PriorMean(mean, weight).after(sums(values))
    together = (weight * mean + math.fsum(values)) / (weight + len(values))
    assert found.mean == pytest.approx(together, abs=1e-9)
    assert PriorMean(mean, 0.0).after(sums([])) == PriorMean(mean, 0.0)


@given(st.lists(numbers, min_size=1, max_size=4))
def test_unit_information_is_of_all_rewards_together(routes: list[list[float]]) -> None:
    found = unit_information([sums(values) for values in routes])
    together = np.array([value for values in routes for value in values])
    assert (found.weight, found.shape) == (1.0, 1.0)
    if not together.size:
        assert found == Gaussian(0.0, 1.0)
        return
    assert found.mean == pytest.approx(together.mean(), abs=1e-9)
    if together.var() > 1e-9:
        assert found.scale == pytest.approx(together.var(), rel=1e-6)


def test_equal_rewards_leave_the_scale_open() -> None:
    assert unit_information([sums([5.0, 5.0]), sums([5.0])]) == Gaussian(5.0, 1.0, 1.0, 1.0)


def test_a_prior_is_of_all_routes_or_of_each() -> None:
    default = Beta(1, 1)
    assert read(Beta, None, ["a", "b"], default) == {"a": default, "b": default}
    common = read(Beta, {"alpha": 2, "beta": 3}, ["a", "b"], default)
    assert common == {"a": Beta(2, 3), "b": Beta(2, 3)}
    each = read(Beta, {"a": {"alpha": 2, "beta": 3}}, ["a", "b"], default)
    assert each == {"a": Beta(2, 3), "b": default}
