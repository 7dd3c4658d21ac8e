"""A weighted choice, exact: each name owns its share of [0, 1), and a point in it picks a name.

Sums of floats go wrong in the last digits, and an arm of weight 0 must never be picked. So the
edges between the shares are computed as fractions, and rounded once.
"""

from __future__ import annotations

import math
import os
import random
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping
from fractions import Fraction
from itertools import accumulate
from typing import Generic, TypeVar

from anabranch.specs.excerpts import listing, shown

K = TypeVar("K", bound=Hashable)


class Weights(Generic[K]):
    """Names with relative weights, in their order.

    A ValueError names what is negative or no finite number, and tells of a sum that is 0 or too
    large.
    """

    def __init__(self, weights: Mapping[K, float]) -> None:
        exact = {name: _exact(name, weight) for name, weight in weights.items()}
        drawable = {name: weight for name, weight in exact.items() if weight > 0}
        total = _total(weights, drawable)
        self._names = list(drawable)
        self._edges = [_not_below(part / total) for part in accumulate(drawable.values())]
        self.only = self._names[0] if len(self._names) == 1 else None
        """The one name with a weight above 0; None if there are several."""

    def pick(self, point: float) -> K:
        """Return the name that owns ``point``, which is at least 0 and below 1.

        Each share includes its lower edge and not its upper one. Takes well under a microsecond.
        """
        return self._names[bisect_right(self._edges, point)]


def _exact(name: Hashable, weight: float) -> Fraction:
    if not _is_weight(weight):
        raise ValueError(
            f"the weight of {shown(name)} must be a finite number of at least 0, "
            f"not {shown(weight)}"
        )
    return Fraction(weight)


def _is_weight(weight: float) -> bool:
    try:
        return math.isfinite(weight) and weight >= 0
    except OverflowError:
        return False


def _total(weights: Mapping[K, float], drawable: Mapping[K, Fraction]) -> Fraction:
    total = sum(drawable.values(), Fraction(0))
    try:
        if float(total) > 0:
            return total
    except OverflowError:
        pass
    given = listing(f"{name}: {weight:g}" for name, weight in weights.items()) or "none"
    raise ValueError(f"the sum of the weights must be above 0 and finite, not that of {given}")


def _not_below(edge: Fraction) -> float:
    """Return the least float not below ``edge``: a float is below one if below the other."""
    near = float(edge)
    return math.nextafter(near, math.inf) if Fraction(near) < edge else near


Draw = Callable[[], float]
"""Returns a number of at least 0 and below 1."""
# One's own, since components may seed the generator that all share.
_GENERATOR = random.Random()
# Replicas are forks of one process, and would all draw the same numbers.
os.register_at_fork(after_in_child=_GENERATOR.seed)
DRAW: Draw = _GENERATOR.random
