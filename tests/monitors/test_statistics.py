from __future__ import annotations

import math

import numpy as np
import pytest

from anabranch.monitors.statistics import (
    LEAST_LOG_P,
    chi_square_log_p,
    holm,
    homogeneity,
    hypergeometric_log_tail,
    ks_log_p,
    ks_statistics,
)

SEED = 7


def columns(rng: np.random.Generator, rows: int, shift: float = 0.0) -> np.ndarray:
    smooth = rng.normal(shift, 1, (rows, 3))
    return np.column_stack([smooth, np.round(smooth[:, 0]), np.zeros(rows)])


@pytest.mark.parametrize(("n", "m"), [(7, 9), (10, 25), (40, 30), (200, 900)])
@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_kolmogorov_smirnov_is_that_of_scipy(n: int, m: int, shift: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(SEED)
    reference, window = np.sort(columns(rng, m), axis=0), columns(rng, n, shift)
    found = ks_statistics(reference, window)
    log_p = ks_log_p(found, n, m)
    assert found[4] == log_p[4] == 0
    for column in range(4):
        expected = stats.ks_2samp(reference[:, column], window[:, column], method="exact")
        assert found[column] / (n * m) == pytest.approx(expected.statistic, abs=1e-12)
        p = math.exp(log_p[column])
        if expected.pvalue < 0.05:
            assert p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-290)
        else:
            assert p > 0.05


def test_a_large_sample_goes_by_the_limit() -> None:
    stats = pytest.importorskip("scipy.stats")
    n, m = 500, 20_000
    for share in (0.05, 0.08, 0.3):
        statistic = np.array([int(share * n * m)])
        expected = stats.kstwobign.logsf(share * math.sqrt(n * m / (n + m)))
        assert ks_log_p(statistic, n, m)[0] == pytest.approx(expected, rel=1e-6)


def test_the_order_of_the_samples_says_nothing() -> None:
    statistics = np.array([40 * 30 // 2, 40 * 30 // 3])
    assert ks_log_p(statistics, 40, 30) == pytest.approx(ks_log_p(statistics, 30, 40))


def test_samples_that_have_nothing_in_common_are_as_unlikely_as_can_be() -> None:
    n, m = 20, 30
    expected = math.log(2) - math.log(math.comb(n + m, n))
    assert ks_log_p(np.array([n * m]), n, m)[0] == pytest.approx(expected)
    assert ks_log_p(np.array([2000 * 2000]), 2000, 2000)[0] == LEAST_LOG_P


@pytest.mark.parametrize("freedom", [1, 2, 9, 63, 1000])
@pytest.mark.parametrize("at", [0.0, 0.2, 0.9, 1.0, 1.1, 2.0, 5.0])
def test_chi_square_is_that_of_scipy(freedom: int, at: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = max(LEAST_LOG_P, stats.chi2.logsf(at * freedom, freedom))
    assert chi_square_log_p(at * freedom, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_the_hypergeometric_tail_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for count, marked, drawn, total in [(3, 5, 20, 100), (0, 5, 20, 100), (5, 5, 20, 100),
                                        (40, 60, 200, 1000), (12, 15, 90, 100)]:  # fmt: skip
        expected = stats.hypergeom.logsf(count - 1, total, marked, drawn)
        assert hypergeometric_log_tail(count, marked, drawn, total) == pytest.approx(expected)
    assert hypergeometric_log_tail(6, 5, 20, 100) == LEAST_LOG_P


def test_counts_that_are_large_enough_are_tested_as_pearson_did() -> None:
    stats = pytest.importorskip("scipy.stats")
    window, reference = np.array([30, 50, 20]), np.array([400, 300, 300])
    pearson = stats.chi2_contingency([window, reference])
    ratio = stats.chi2_contingency([window, reference], lambda_="log-likelihood")
    statistic, log_p = homogeneity(window, reference)
    assert statistic == pytest.approx(pearson.statistic)
    assert math.exp(log_p) == pytest.approx(max(pearson.pvalue, ratio.pvalue))


def test_small_counts_are_tested_together() -> None:
    together = homogeneity(np.array([80, 10, 10]), np.array([1000, 100, 100]))
    apart = homogeneity(np.array([80, 10, *[1] * 10]), np.array([1000, 100, *[10] * 10]))
    assert apart == pytest.approx(together)


def test_what_was_never_seen_is_tested_exactly() -> None:
    stats = pytest.importorskip("scipy.stats")
    statistic, log_p = homogeneity(np.array([192, 8]), np.array([2000, 0]))
    exact = stats.hypergeom.sf(7, 2200, 8, 200)
    assert statistic == 0
    assert math.exp(log_p) == pytest.approx(4 * exact)


@pytest.mark.parametrize(("window", "reference"), [([0, 0], [5, 5]), ([9], [100]), ([], [])])
def test_what_cannot_be_compared_is_no_evidence(window: list[int], reference: list[int]) -> None:
    assert homogeneity(np.array(window, int), np.array(reference, int)) == (0.0, 0.0)


def test_pearson_keeps_its_level_far_out() -> None:
    """Simulated: 200 rows against 2,000, ten categories of which three are rare."""
    rng = np.random.default_rng(SEED)
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.08, 0.005, 0.005, 0.005, 0.005])
    looks = 20_000
    windows = rng.multinomial(200, shares, looks)
    references = rng.multinomial(2000, shares, looks)
    log_p = [homogeneity(*pair)[1] for pair in zip(windows, references, strict=True)]
    below = np.mean(np.array(log_p) < math.log(0.001))
    assert below < 0.0018  # 0.001 and three and a half standard deviations


def test_holm_multiplies_by_how_many_are_left() -> None:
    found = np.exp(holm(np.log([0.04, 0.01, 0.03])))
    assert found == pytest.approx([0.06, 0.03, 0.06])
    assert np.exp(holm(np.log([0.9, 0.8]))) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0
