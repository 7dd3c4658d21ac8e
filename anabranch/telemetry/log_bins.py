"""Logarithmic bins of positive numbers, and quantiles of the numbers that were counted in bins.

As in DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): a number's bin depends on the number alone, so counts of
parts add up to exactly those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

Bin = TypeVar("Bin")


class LogBins:
    """Bins whose middles are off their numbers by at most the share ``accuracy``.

    Bin ``i`` holds numbers of more than ``g ** (i - 1)`` and at most ``g ** i``, with ``g = (1 +
    accuracy) / (1 - accuracy)``: that is ``ceil(log(number) * per_log)``.
    """

    def __init__(self, accuracy: float) -> None:
        growth = (1 + accuracy) / (1 - accuracy)
        self.per_log = 1 / math.log(growth)
        """Bins over which numbers grow by a factor of e."""
        self._share = 2 / (growth + 1)

    def middle(self, index: int) -> float:
        """Return the number that stands for those of a bin."""
        return self._share * math.exp(index / self.per_log)


def quantile(ascending: Iterable[tuple[Bin, int]], total: int, share: float) -> Bin | None:
    """Return the bin of the number below which ``share`` (0 to 1) of all lie; None without any.

    Bins come with their counts, of which ``total`` is the sum. It is the number at position
    ``share * (total - 1)``, rounded down, in their order.
    """
    position = share * (total - 1)
    below = 0
    for found, count in ascending:
        below += count
        if below > position:
            return found
    return None
