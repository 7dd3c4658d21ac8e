"""Methods that compare the distribution of each feature with that of a reference."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from anabranch.components.registry import register
from anabranch.monitors.base import Comparing, Finding, unlike
from anabranch.monitors.bins import Bins, Categories, Quantiles
from anabranch.monitors.statistics import homogeneity, ks_log_p, ks_statistics
from anabranch.monitors.table import Array, Table, Unfit
from anabranch.specs.excerpts import hint


class _ByFeature(Comparing):
    """A test of each feature, whose p-values are corrected for all of them."""

    _reference: Table

    def look(self, window: Table, number: int) -> Finding:
        """Compare every feature of the window with the reference."""
        unlike(self._reference, window)
        statistics, log_p = self.compared(window)
        return self.found(window.names, statistics, log_p, number)

    def compared(self, window: Table) -> tuple[Array, Array]:
        """Return the statistic of each feature, and the logarithm of its p-value."""
        raise NotImplementedError


@register("monitor", "ks")
class KolmogorovSmirnov(_ByFeature):
    """The two-sample test of Kolmogorov and Smirnov, for numbers.

    The statistic is the largest distance between the two empirical distribution functions, 0 to 1.
    A missing value (NaN) counts as one above all others, so that more of them are drift too.
    """

    def fit(self, reference: Table) -> None:
        """Store the reference; raise Unfit if it holds texts."""
        self._reference = reference
        self._sorted = np.sort(_with_missing_last(reference.numbers("ks")), axis=0)

    def compared(self, window: Table) -> tuple[Array, Array]:
        """Return the statistic of each feature, and the logarithm of its p-value."""
        m, n = len(self._sorted), window.rows
        found = ks_statistics(self._sorted, _with_missing_last(window.numbers("ks")))
        return found / (n * m), ks_log_p(found, n, m)


def _with_missing_last(numbers: Array) -> Array:
    return np.where(np.isnan(numbers), np.inf, numbers)


@register("monitor", "chi_square")
class ChiSquare(_ByFeature):
    """Pearson's chi-square test of homogeneity, for categories: texts, truth values, labels.

    The statistic is Pearson's. Categories that the reference has not seen, and rare ones, count
    together; see ``homogeneity``.
    """

    takes_texts = True

    def fit(self, reference: Table) -> None:
        """Count the reference; raise Unfit if a feature has too many values to be categories."""
        self._reference = reference
        columns = zip(reference.names, reference.columns, strict=True)
        self._bins = [Categories(name, column) for name, column in columns]

    def compared(self, window: Table) -> tuple[Array, Array]:
        """Return the statistic of each feature, and the logarithm of its p-value."""
        pairs = zip(self._bins, window.columns, strict=True)
        found = [homogeneity(bins.count(column), bins.reference) for bins, column in pairs]
        return np.array([one for one, _ in found]), np.array([log_p for _, log_p in found])


@register("monitor", "drift")
class Drift(_ByFeature):
    """``ks`` for numbers and ``chi_square`` for categories.

    Texts and truth values are categories; ``categories`` names features, or watched tensors, that
    are too though they hold numbers, such as labels.

    Args:
        categories: Features, or watched tensors, whose numbers are categories.
    """

    takes_texts = True

    def __init__(self, *, categories: list[str] | None = None, **common: Any) -> None:
        super().__init__(**common)
        self._named = frozenset(categories or ())

    def fit(self, reference: Table) -> None:
        """Assign the features to the tests; raise Unfit for a category that is no feature."""
        self._reference = reference
        tensors = {name.partition("[")[0] for name in reference.names}
        for name in self._named - tensors - set(reference.names):
            raise Unfit(f"categories: there is no feature {name!r}{hint(name, tensors)}")
        chosen = [self._is_category(reference, i) for i in range(len(reference.names))]
        parts = ((KolmogorovSmirnov(), False), (ChiSquare(), True))
        self._parts = [
            (method, places)
            for method, wanted in parts
            if (places := [i for i, category in enumerate(chosen) if category is wanted])
        ]
        for method, places in self._parts:
            method.fit(reference.only(places))

    def _is_category(self, reference: Table, place: int) -> bool:
        name = reference.names[place]
        return (
            reference.categorical[place]
            or name in self._named
            or name.partition("[")[0] in self._named
        )

    def compared(self, window: Table) -> tuple[Array, Array]:
        """Return statistics and p-values of each feature by its test."""
        statistics, log_p = np.zeros(len(window.names)), np.zeros(len(window.names))
        for method, places in self._parts:
            statistics[places], log_p[places] = method.compared(window.only(places))
        return statistics, log_p


@register("monitor", "psi")
class PopulationStabilityIndex(Comparing):
    """The population stability index: the sum of (p - q) ln(p / q) over bins.

    Numbers fall into ``bins`` of equal shares of the reference, missing ones into a bin of their
    own, and so do those outside of the reference's range; for texts and truth values each category
    is a bin. Half a row is added to each bin, so that none is empty.

    There is drift where the index is above ``threshold`` *and* chance could not be why. The index
    of two samples from one distribution is about (1/n + 1/m) times a chi-square variable of
    bins - 1 degrees of freedom (Yurdakul, Naranjo: "Statistical properties of the population
    stability index", 2020), so a fixed threshold such as the customary 0.1 or 0.2 means another
    error rate for each size of window. Hence the p-value is that of the chi-square test of the same
    counts, which the index approaches and which keeps its level better far out.

    Args:
        bins: Bins of a feature, 2 to 100.
        threshold: Index from which on there may be drift, above 0.
    """

    takes_texts = True

    def __init__(
        self,
        *,
        bins: Annotated[int, Field(ge=2, le=100)] = 10,
        threshold: Annotated[float, Field(gt=0)] = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._number = bins
        self._threshold = threshold

    def fit(self, reference: Table) -> None:
        """Make the bins; raise Unfit if a feature of texts has too many values."""
        self._reference = reference
        self._bins: list[Bins] = [
            Categories(name, column) if category else Quantiles(column, self._number)
            for name, column, category in zip(
                reference.names, reference.columns, reference.categorical, strict=True
            )
        ]

    def look(self, window: Table, number: int) -> Finding:
        """Compare every feature of the window with the reference."""
        unlike(self._reference, window)
        indices, log_p = [], []
        for bins, column in zip(self._bins, window.columns, strict=True):
            counts = bins.count(column)
            indices.append(index(counts, bins.reference))
            log_p.append(homogeneity(counts, bins.reference)[1])
        limits = [one / self._threshold for one in indices]
        return self.found(window.names, indices, np.array(log_p), number, limits)


def index(window: Array, reference: Array) -> float:
    """Return the population stability index of two rows of counts [bins].

    Bins that are empty in both are left out.
    """
    used = window + reference > 0
    q, p = (counts[used] + 0.5 for counts in (window, reference))
    q, p = q / q.sum(), p / p.sum()
    return math.fsum((q - p) * np.log(q / p))
