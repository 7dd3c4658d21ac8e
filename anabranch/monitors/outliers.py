"""Methods that find rows unlike the reference, and windows with too many of them.

The reference is split: from one half a method learns the usual rows, and the scores of the other
half define an outlier: a score above all but the share ``contamination`` of them. The number of a
window's outliers by chance has a distribution of its own, whatever the data, the method and the
scores are: rows that are exchangeable with the other half rank among it at random, so
the chance of k or more above the r-th largest of its m is that of k or more window rows among the
k + r - 1 largest of all (the negative hypergeometric distribution; split conformal prediction:
Vovk, Gammerman, Shafer: "Algorithmic learning in a random world", 2005).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.monitors.base import Comparing, Finding, unlike
from anabranch.monitors.statistics import hypergeometric_log_tail
from anabranch.monitors.table import Array, Table, Unfit


class Outliers(Comparing):
    """Counts outliers; subclasses define unusual rows by ``learn`` and ``rate``.

    Args:
        contamination: Share of outliers in the reference, above 0 and below 0.5.
        seed: Seed of the division of the reference, and of the trees.
    """

    least = 40

    def __init__(
        self,
        *,
        contamination: Annotated[float, Field(gt=0, lt=0.5)] = 0.01,
        seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._share = contamination
        self._seed = seed

    def learn(self, rows: Array) -> None:
        """Learn the usual rows from rows [rows, features] without missing values."""
        raise NotImplementedError

    def rate(self, rows: Array) -> Array:
        """Return how unusual each row is [rows]; larger is more unusual."""
        raise NotImplementedError

    def fit(self, reference: Table) -> None:
        """Learn from one half, drawn by the seed, and rate the other half."""
        self._reference = reference
        rows = reference.numbers("an outlier detector")
        if np.isinf(rows).any():
            raise Unfit("the reference holds infinities")
        order = np.random.default_rng(self._seed).permutation(len(rows))
        half = len(rows) // 2
        self._usual = _medians(rows)
        self.learn(self._filled(rows[order[:half]]))
        known = np.sort(self.rate(self._filled(rows[order[half:]])))
        self._m = len(known)
        self._r = max(1, math.floor(self._share * self._m))
        self._limit = known[-self._r]

    def look(self, window: Table, number: int) -> Finding:
        """Count the outliers; their share is the only feature of the finding."""
        unlike(self._reference, window)
        rows = window.numbers("an outlier detector")
        finite = ~np.isinf(rows).any(axis=1)
        outliers = int((~finite).sum())
        if finite.any():
            outliers += int((self.rate(self._filled(rows[finite])) > self._limit).sum())
        log_p = self._log_p(outliers, len(rows))
        found = self.found(["outliers"], [outliers / len(rows)], np.array([log_p]), number)
        return Finding(found.score, found.features, outliers)

    def _log_p(self, outliers: int, rows: int) -> float:
        """Return the logarithm of the chance of as many outliers or more."""
        highest = outliers + self._r - 1
        return hypergeometric_log_tail(outliers, rows, highest, rows + self._m)

    def _filled(self, rows: Array) -> Array:
        """Return rows with medians of the reference where values are missing."""
        return np.where(np.isnan(rows), self._usual, rows)


def _medians(rows: Array) -> Array:
    """Return the median of each column; 0 where all is missing."""
    known = [column[~np.isnan(column)] for column in rows.T]
    return np.array([np.median(one) if len(one) else 0.0 for one in known])


@register("monitor", "mahalanobis")
class Mahalanobis(Outliers):
    """The distance of Mahalanobis from the mean of the reference.

    Features are scaled first, and the covariance is shrunk towards a sphere, as much as its
    sampling error asks for (Ledoit, Wolf: "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004), so that few rows, constant features and features that follow from
    others do no harm.
    """

    def learn(self, rows: Array) -> None:
        """Compute mean, scale and covariance."""
        self._mean = rows.mean(axis=0)
        spread = rows.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        covariance = shrunk_covariance((rows - self._mean) / self._scale)
        self._whiten = np.linalg.cholesky(np.linalg.inv(covariance))

    def rate(self, rows: Array) -> Array:
        """Return the squared distance of each row."""
        found: Array = (((rows - self._mean) / self._scale @ self._whiten) ** 2).sum(axis=1)
        return found


def shrunk_covariance(rows: Array) -> Array:
    """Return the covariance matrix of centred rows [rows, features], shrunk by Ledoit and Wolf."""
    n, p = rows.shape
    sample = rows.T @ rows / n
    mu = max(np.trace(sample) / p, 1e-12)
    target = mu * np.eye(p)
    distance = ((sample - target) ** 2).sum()
    error = ((rows**2).T @ (rows**2) / n - sample**2).sum() / n
    share = min(1.0, error / distance) if distance > 0 else 1.0
    # A trace of the target stays, so that the matrix can always be inverted.
    share = max(share, 1e-6)
    found: Array = share * target + (1 - share) * sample
    return found


@register("monitor", "isolation_forest")
class IsolationForest(Outliers):
    """scikit-learn's isolation forest of ``trees`` trees (Liu, Ting, Zhou: "Isolation forest",
    2008).

    Args:
        trees: Trees of the forest, 1 to 1000.
    """

    def __init__(self, *, trees: Annotated[int, Field(ge=1, le=1000)] = 100, **common: Any) -> None:
        super().__init__(**common)
        self._trees = trees

    def learn(self, rows: Array) -> None:
        """Grow the forest."""
        ensemble = require("sklearn.ensemble", "sklearn")
        self._forest = ensemble.IsolationForest(
            n_estimators=self._trees, random_state=self._seed, n_jobs=1
        )
        self._forest.fit(rows)

    def rate(self, rows: Array) -> Array:
        """Return how early the trees isolate each row."""
        found: Array = -self._forest.score_samples(rows)
        return found
