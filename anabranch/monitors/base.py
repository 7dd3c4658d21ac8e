"""What all methods share: what they find, and how they keep their false alarms down.

A method is a class in a module that ``builtins.MODULES`` lists::

    @register("monitor", "ks")
    class KolmogorovSmirnov(Comparing):
        def fit(self, reference: Table) -> None: ...           # Unfit says what does not fit
        def look(self, window: Table, number: int) -> Finding: ...

``look`` is called with one window after the other, ``number`` being 1 for the first. ``least`` is
how many rows a reference must have; 0 for a method that takes none.

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
from typing import Any, ClassVar

import numpy as np

from anabranch.monitors.statistics import holm
from anabranch.monitors.table import Array, Table, Unfit

MAX_REFERENCE = 10
"""Rows of a reference that are kept, in windows: more would tell little more."""


@dataclass(frozen=True)
class Feature:
    """What was found of one feature. ``score`` and the rest are None where a method has none."""

    name: str
    score: float | None = None
    """In units of the threshold: above 1 is drift."""
    statistic: float | None = None
    p_value: float | None = None
    """Not corrected for how many features there are."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """How its values are spread: count, mean and the like."""
    quantiles: Mapping[float, float] = field(default_factory=dict)
    """By share, 0 to 1."""


@dataclass(frozen=True)
class Finding:
    """What a method found in a window."""

    score: float | None = None
    """How far the window is from the reference, in units of the threshold: above 1 is drift."""
    features: tuple[Feature, ...] = ()
    outliers: int = 0
    """Rows that were outliers."""


class MonitorMethod:
    """A built-in: without a reference, unless ``least`` says otherwise."""

    least: ClassVar[int] = 0
    """Fewest rows of a reference; 0 where none is taken."""
    takes_texts: ClassVar[bool] = False
    """Whether features may hold texts."""

    def fit(self, reference: Table) -> None:
        """Take what is compared with; Unfit says why that cannot be."""

    def look(self, window: Table, number: int) -> Finding:
        """Look at a window, the ``number``-th; Unfit says why that cannot be."""
        raise NotImplementedError


class Comparing(MonitorMethod):
    """Compares with a reference, by p-values."""

    least = 10

    def __init__(self, *, false_alarm_rate: float = 0.01) -> None:
        self._rate = false_alarm_rate

    @staticmethod
    def check(monitor: Any) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Yield what is wrong with the arguments."""
        rate = monitor.args.get("false_alarm_rate", 0.01)
        if not 0 < rate < 1:
            yield ("args", "false_alarm_rate"), f"must be between 0 and 1, such as 0.01, not {rate}"

    def log_level(self, number: int) -> float:
        """Return the logarithm of the level of a window, all features together."""
        return math.log(self._rate) - math.log(number) - math.log(number + 1)

    def found(
        self,
        names: Sequence[str],
        statistics: Iterable[float],
        log_p: Array,
        number: int,
        limits: Iterable[float] | None = None,
    ) -> Finding:
        """Return the finding of a window, from p-values of features as logarithms.

        A score is the logarithm of the corrected p-value by that of the level, and no more than
        that of ``limits``, a feature's score by other measures.
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
