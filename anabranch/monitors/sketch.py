"""Distributions of values without a reference: quantile sketches that can be added."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Self

import numpy as np

from anabranch.components.registry import register
from anabranch.monitors.base import Feature, Finding, MonitorMethod
from anabranch.monitors.table import Array, Table
from anabranch.telemetry.log_bins import LogBins, quantile

ACCURACY = 0.01
"""A quantile is off by at most this share of itself."""
MAX_BUCKETS = 1024
"""Most buckets of either sign. Numbers over nine powers of ten take as many; beyond, the smallest
share one."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS = LogBins(ACCURACY)


class QuantileSketch:
    """Counts of numbers of either sign in logarithmic bins, as many as are bounded.

    Sketches of parts add up to exactly that of the whole.
    """

    def __init__(self) -> None:
        self.count = self.missing = 0
        self._total = 0.0
        self._least, self._most = math.inf, -math.inf
        self._zeros = 0
        self._above: Counter[int] = Counter()
        self._below: Counter[int] = Counter()

    @classmethod
    def of(cls, values: Array) -> Self:
        """Return the sketch of numbers [rows]; NaN and infinities count as missing."""
        sketch = cls()
        known = values[np.isfinite(values)]
        sketch.missing = len(values) - len(known)
        sketch.count = len(known)
        if len(known):
            sketch._total = float(known.sum())
            sketch._least, sketch._most = float(known.min()), float(known.max())
        sketch._above = _buckets(known[known > 0])
        sketch._below = _buckets(-known[known < 0])
        sketch._zeros = int((known == 0).sum())
        return sketch

    def add(self, other: QuantileSketch) -> None:
        """Add the counts of another sketch."""
        self.count += other.count
        self.missing += other.missing
        self._total += other._total
        self._least = min(self._least, other._least)
        self._most = max(self._most, other._most)
        self._zeros += other._zeros
        self._above = _bounded(self._above + other._above)
        self._below = _bounded(self._below + other._below)

    def quantile(self, share: float) -> float:
        """Return the value that this share of the numbers does not exceed; NaN without numbers."""
        found = quantile(self._ascending(), self.count, share)
        return math.nan if found is None else min(max(found, self._least), self._most)

    def _ascending(self) -> list[tuple[float, int]]:
        below = [
            (-_BINS.middle(key), self._below[key]) for key in sorted(self._below, reverse=True)
        ]
        above = [(_BINS.middle(key), self._above[key]) for key in sorted(self._above)]
        return [*below, (0.0, self._zeros), *above]

    def summary(self) -> Mapping[str, float]:
        """Return count, missing values, mean and extremes."""
        found = {"count": float(self.count), "missing": float(self.missing)}
        if self.count:
            found |= {"mean": self._total / self.count, "min": self._least, "max": self._most}
        return found

    def quantiles(self) -> Mapping[float, float]:
        """Return the quantiles that monitors report; none without numbers."""
        return {share: self.quantile(share) for share in QUANTILES} if self.count else {}


def _buckets(magnitudes: Array) -> Counter[int]:
    keys = np.ceil(np.log(magnitudes) * _BINS.per_log).astype(int)
    return _bounded(Counter(keys.tolist()))


def _bounded(counts: Counter[int]) -> Counter[int]:
    excess = len(counts) - MAX_BUCKETS
    if excess <= 0:
        return counts
    keys = sorted(counts)
    counts[keys[excess]] += sum(counts.pop(key) for key in keys[:excess])
    return counts


@register("monitor", "sketch")
class Sketch(MonitorMethod):
    """Mean, extremes and quantiles of every feature, of all rows so far.

    Takes no reference and gives no score. Texts are left out.
    """

    takes_texts = True

    def __init__(self) -> None:
        self._sketches: dict[str, QuantileSketch] = {}

    def look(self, window: Table, number: int) -> Finding:
        """Add a window, and return the finding on all rows so far."""
        for name, column in zip(window.names, window.columns, strict=True):
            if column.dtype.kind == "f":
                self._sketches.setdefault(name, QuantileSketch()).add(QuantileSketch.of(column))
        features = [
            Feature(name, summary=sketch.summary(), quantiles=sketch.quantiles())
            for name, sketch in self._sketches.items()
        ]
        return Finding(features=tuple(features))
