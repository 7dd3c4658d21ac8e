"""Tests of whether two samples come from one distribution, and the few functions that they take.

P-values are given as natural logarithms: those that matter over many windows and features are tiny.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEAST_LOG_P = math.log(1e-300)
"""Smaller p-values are given as this."""
EXACT_ROWS = 10_000
"""Samples up to this size are compared by the exact distribution of Kolmogorov and Smirnov."""
_CLOSE = 0.1
"""P-values above this need not be exact: no test is decided there."""
MIN_EXPECTED = 10.0
"""Fewest counts that a cell must be expected to have for the chi-square approximation to hold. The
customary 5 (Cochran: "Some methods for strengthening the common chi-square tests", 1954) is for the
customary levels; monitors judge at a hundredth of these and less."""


def ks_statistics(reference: Array, window: Array) -> Array:
    """Return the two-sample statistic of Kolmogorov and Smirnov of each column, times n times m.

    Whole numbers, so that no p-value hangs on how a quotient was rounded. ``reference`` is
    [m, columns], sorted along its rows; ``window`` is [n, columns], in any order.
    """
    m, n = len(reference), len(window)
    window = np.sort(window, axis=0)
    found = np.zeros(window.shape[1], np.int64)
    for column in range(window.shape[1]):
        one, other = reference[:, column], window[:, column]
        at = np.concatenate([one, other])
        below = np.searchsorted(one, at, "right") * n - np.searchsorted(other, at, "right") * m
        found[column] = np.abs(below).max()
    return found


def ks_log_p(statistics: Array, n: int, m: int) -> Array:
    """Return logarithms of the two-sided p-values of ``ks_statistics`` [columns].

    Exact where it matters and both samples are of at most ``EXACT_ROWS``; with ties it is an upper
    bound (Noether: "Note on the Kolmogorov statistic in the discrete case", 1963).
    """
    log_p = _ks_limit(statistics / (n * m) * math.sqrt(n * m / (n + m)))
    if max(n, m) <= EXACT_ROWS:
        near = log_p < math.log(_CLOSE)
        distinct, place = np.unique(statistics[near], return_inverse=True)
        if len(distinct):
            log_p[near] = _ks_exact(distinct, n, m)[place]
    return np.maximum(log_p, LEAST_LOG_P)


def _ks_limit(scaled: Array) -> Array:
    """Return Kolmogorov's limit: 2 times the sum of (-1)^(k-1) exp(-2 k² x²)."""
    x = np.maximum(scaled, 0.2)[:, None]
    k = np.arange(1, 60)
    # Without the first term, which is in the logarithm, so that nothing underflows.
    rest = ((-1.0) ** (k - 1) * np.exp(-2 * (k**2 - 1) * x**2)).sum(axis=1)
    log_p = np.minimum(math.log(2) - 2 * x[:, 0] ** 2 + np.log(rest), 0.0)
    return np.where(scaled > 0.2, log_p, 0.0)  # below, p is 1 to twelve digits


def _ks_exact(statistics: Array, n: int, m: int) -> Array:
    """Count lattice paths from (0, 0) to (n, m) that leave the band |i m - j n| < statistic.

    Under the null hypothesis all paths are equally likely (Hodges: "The significance probability of
    the Smirnov two-sample test", 1957). The share of those that have left the band on the way to
    (i, j) is a mean of the shares at the two points before, so nothing cancels out and tiny
    p-values keep their digits. It takes n + m steps over vectors [statistics, min(n, m) + 1].
    """
    n, m = min(n, m), max(n, m)
    i, band = np.arange(n + 1), statistics[:, None]
    left = np.zeros((len(statistics), n + 1))
    for total in range(1, n + m + 1):
        low, high = max(0, total - m), min(n, total)
        here = i[low : high + 1]
        by_j = left[:, low : high + 1] * (total - here)
        by_j[:, 1 if low == 0 else 0 :] += left[:, max(low - 1, 0) : high] * here[here > 0]
        outside = np.abs(here * m - (total - here) * n) >= band
        left[:, low : high + 1] = np.where(outside, 1.0, by_j / total)
    log_p: Array = np.log(np.maximum(left[:, n], 1e-300))
    return log_p


def homogeneity(window: Array, reference: Array) -> tuple[float, float]:
    """Return Pearson's test of whether two rows of counts [categories] come from one distribution.

    Returns the statistic and the logarithm of the p-value. Categories of which either sample is
    expected to have fewer than ``MIN_EXPECTED`` count together; where even these are too few, they
    are tested by Fisher's exact test instead, the others by themselves, and the smaller of the two
    p-values counts twice.
    """
    n, m = int(window.sum()), int(reference.sum())
    if not n or not m:
        return 0.0, 0.0
    both = window + reference
    least = both * (min(n, m) / (n + m))
    rare = least < MIN_EXPECTED
    cells = np.stack([window[~rare], reference[~rare]])
    rest = np.array([[window[rare].sum()], [reference[rare].sum()]])
    if not rest.sum():
        return _pearson(cells)
    if least[rare].sum() >= MIN_EXPECTED:
        return _pearson(np.hstack([cells, rest]))
    statistic, log_p = _pearson(cells)
    exact = _fisher(int(rest[0, 0]), int(rest.sum()), n, n + m)
    return statistic, min(0.0, math.log(2) + min(log_p, exact))


def _pearson(cells: Array) -> tuple[float, float]:
    """Return the test of a table [2, categories] without empty columns.

    Far out, Pearson's statistic is too large by chance where a small count is exceeded, and that of
    the likelihood ratio where one is not reached. So the p-value is that of the lesser of the two,
    which in simulations keeps its level to 1e-5 and below.
    """
    if cells.shape[1] < 2 or not cells.sum(axis=1).all():
        return 0.0, 0.0
    expected = np.outer(cells.sum(axis=1), cells.sum(axis=0)) / cells.sum()
    statistic = float(((cells - expected) ** 2 / expected).sum())
    ratio = 2 * float((cells * np.log(np.maximum(cells, 1e-300) / expected)).sum())
    return statistic, chi_square_log_p(min(statistic, ratio), cells.shape[1] - 1)


def _fisher(count: int, marked: int, drawn: int, total: int) -> float:
    """Return twice the smaller tail of the hypergeometric distribution, as a logarithm."""
    above = hypergeometric_log_tail(count, marked, drawn, total)
    below = hypergeometric_log_tail(marked - count, marked, total - drawn, total)
    return min(0.0, math.log(2) + min(above, below))


def hypergeometric_log_tail(count: int, marked: int, drawn: int, total: int) -> float:
    """Return the log of the chance that ``drawn`` of ``total`` hold ``count`` marked or more."""
    low, high = max(0, drawn + marked - total), min(drawn, marked)
    if count <= low:
        return 0.0
    if count > high:
        return LEAST_LOG_P
    first = _log_choose(marked, count) + _log_choose(total - marked, drawn - count)
    first -= _log_choose(total, drawn)
    term = sums = 1.0
    for x in range(count, high):
        term *= (marked - x) * (drawn - x) / ((x + 1) * (total - marked - drawn + x + 1))
        sums += term
    return max(LEAST_LOG_P, min(0.0, first + math.log(sums)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def chi_square_log_p(statistic: float, freedom: int) -> float:
    """Return the log of the chance that a chi-square variable of so many degrees is larger.

    The regularized upper incomplete gamma function: by its series below the mean, by Lentz's
    continued fraction above it (Press et al.: "Numerical Recipes", 2007, section 6.2).
    """
    a, x = freedom / 2, statistic / 2
    if x <= 0:
        return 0.0
    scale = a * math.log(x) - x - math.lgamma(a)
    if x < a + 1:
        return math.log1p(-min(1 - 1e-16, math.exp(scale) * _gamma_series(a, x)))
    return max(LEAST_LOG_P, min(0.0, scale + math.log(_gamma_fraction(a, x))))


def _gamma_series(a: float, x: float) -> float:
    term = total = 1 / a
    step = a
    while abs(term) > abs(total) * 1e-16:
        step += 1
        term *= x / step
        total += term
    return total


def _gamma_fraction(a: float, x: float) -> float:
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    found = d
    for i in range(1, 10_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b or tiny)
        c = b + step / c or tiny
        found *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return found


def holm(log_p: Array) -> Array:
    """Return p-values as logarithms [tests], corrected for how many there are.

    Each may be held against the level that is meant for all of them together (Holm: "A simple
    sequentially rejective multiple test procedure", 1979); like Bonferroni's correction, it holds
    however the tests depend on each other.
    """
    order = np.argsort(log_p)
    scaled = log_p[order] + np.log(np.arange(len(log_p), 0, -1))
    found = np.empty(len(log_p))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 0.0)
    return found
