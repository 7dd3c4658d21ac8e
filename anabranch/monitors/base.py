"""Base of all built-in monitor methods: their findings, and the bound on false alarms.

A method is a class in a module that ``builtins.MODULES`` lists::

    @register("monitor", "ks")
    class KolmogorovSmirnov(Comparing):
        def fit(self, reference: Table) -> None: ...           # raises Unfit with the reason
        def look(self, window: Table, number: int) -> Finding: ...

``look`` is called with one window after the other; ``number`` counts from 1. ``least`` is the
fewest rows of a reference; 0 for a method without a reference.

**False alarms.** A monitor looks at window after window for as long as its revision lives, so a
level for each window would be passed by chance sooner or later. Here the ``false_alarm_rate`` is
the chance that *any* window of the revision's life raises an alarm while the data are as in the
reference: it is spent over the windows, window k getting rate / (k (k + 1)), which adds up to the
rate (alpha spending: Lan, DeMets: "Discrete sequential boundaries for clinical trials", 1983; for
sequences without an end: Tian, Ramdas: "Online control of the familywise error rate", 2021). Within
a window, features share the level by Holm's method. Both hold however the tests depend on each
other, which they do: all windows meet the same reference. The price is small: with 64 features, the
hundredth window is held against 1.5e-8 and not 1.6e-4 each, which takes a difference 1.4 times as
large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from anabranch.monitors.statistics import holm
from anabranch.monitors.table import Array, Table, Unfit

MAX_REFERENCE = 10
"""Most rows of a reference that are kept, in windows: more rows would add little."""


@dataclass(frozen=True)
class Feature:
    """The finding on one feature. Fields that a method does not compute are None or empty."""

    name: str
    score: float | None = None
    """In units of the threshold: above 1 is drift."""
    statistic: float | None = None
    p_value: float | None = None
    """The p-value, not corrected for the number of features."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """The distribution of the values: count, mean, extremes."""
    quantiles: Mapping[float, float] = field(default_factory=dict)
    """Quantiles by share, 0 to 1."""


@dataclass(frozen=True)
class Finding:
    """The finding of a method on one window."""

    score: float | None = None
    """Distance of the window from the reference, in units of the threshold: above 1 is drift."""
    features: tuple[Feature, ...] = ()
    outliers: int = 0
    """Number of rows that are outliers."""


class MonitorMethod:
    """A built-in method; it takes a reference if ``least`` is above 0."""

    least: ClassVar[int] = 0
    """Fewest rows of a reference; 0 for a method without a reference."""
    takes_texts: ClassVar[bool] = False
    """Whether features may hold texts."""

    def fit(self, reference: Table) -> None:
        """Fit to the reference; raise Unfit where it is unsuitable."""

    def look(self, window: Table, number: int) -> Finding:
        """Return the finding on the ``number``-th window; raise Unfit where it is unsuitable."""
        raise NotImplementedError


class Comparing(MonitorMethod):
    """A method that compares windows with a reference, by p-values.

    Args:
        false_alarm_rate: Chance, 0 to 1, of any alarm in the life of a revision while the data are
            as in the reference.
    """

    least = 10

    def __init__(self, *, false_alarm_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01) -> None:
        self._rate = false_alarm_rate

    def log_level(self, number: int) -> float:
        """Return the logarithm of the level of a window, for all its features together."""
        return math.log(self._rate) - math.log(number) - math.log(number + 1)

    def found(
        self,
        names: Sequence[str],
        statistics: Iterable[float],
        log_p: Array,
        number: int,
        limits: Iterable[float] | None = None,
    ) -> Finding:
        """Return the finding on a window from the logarithms of its features' p-values.

        A score is the logarithm of the corrected p-value, divided by the logarithm of the level,
        and at most the feature's score by other measures in ``limits``.
        """
        scores = holm(log_p) / self.log_level(number)
        if limits is not None:
            scores = np.minimum(scores, np.fromiter(limits, float))
        features = [
            Feature(name, float(score), float(statistic), math.exp(one))
            for name, score, statistic, one in zip(names, scores, statistics, log_p, strict=True)
        ]
        return Finding(float(scores.max()), tuple(features))


def unlike(reference: Table, window: Table) -> None:
    """Raise Unfit where a window has other features than the reference."""
    if reference.names != window.names:
        raise Unfit(
            f"there are {len(window.names)} features from {window.names[0]} on, the reference has "
            f"{len(reference.names)} from {reference.names[0]} on"
        )
    for name, one, other in zip(window.names, reference.columns, window.columns, strict=True):
        if one.dtype.kind != other.dtype.kind:
            raise Unfit(f"{name} is of another kind than in the reference: numbers, or texts")
