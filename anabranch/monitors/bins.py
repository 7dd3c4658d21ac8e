"""Bins in which the values of a reference and of windows are counted."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from anabranch.monitors.table import Array, Unfit

MAX_CATEGORIES = 256
"""Most values of a feature that is taken for categories."""


class Bins(Protocol):
    """Bins of one feature; ``reference`` [bins] are the counts of what they were made from."""

    reference: Array

    def count(self, values: Array) -> Array:
        """Return the number of values [rows] in each bin [bins]."""


class Categories:
    """A bin for each value of the reference, and one for all others. NaN is a value."""

    def __init__(self, name: str, values: Array) -> None:
        """Unfit if there are too many values."""
        self._known = np.unique(values)
        if len(self._known) > MAX_CATEGORIES:
            raise Unfit(
                f"{name} has {len(self._known)} values in the reference, and categories are "
                f"{MAX_CATEGORIES} at most: use ks or psi for numbers, or watch another"
            )
        self.reference = self.count(values)

    def count(self, values: Array) -> Array:
        """Return the number of values in each bin; the last bin holds all other values."""
        found, counts = np.unique(values, return_counts=True)
        at = np.minimum(np.searchsorted(self._known, found), len(self._known) - 1)
        same = self._known[at] == found
        if found.dtype.kind == "f":
            same |= np.isnan(self._known[at]) & np.isnan(found)
        total = np.zeros(len(self._known) + 1, np.int64)
        np.add.at(total, np.where(same, at, len(self._known)), counts)
        return total


class Quantiles:
    """Bins of numbers that hold about equal shares of the reference.

    Equal values are never parted, so there may be fewer bins. Below the smallest, above the largest
    and for NaN there are three more.
    """

    def __init__(self, values: Array, number: int) -> None:
        known = np.sort(values[~np.isnan(values)])
        self._edges = _edges(known, number)
        """Upper bounds of the bins, each a value of the reference; the first is below the rest."""
        self.reference = self.count(values)

    def count(self, values: Array) -> Array:
        """Return the number of values in each bin: below, the bins, above, missing."""
        missing = np.isnan(values)
        places = np.searchsorted(self._edges, values[~missing], "left")
        counts = np.bincount(places, minlength=len(self._edges) + 1)
        return np.append(counts, missing.sum())


def _edges(known: Array, number: int) -> Array:
    """Return bounds of bins of sorted values: the largest number below all, then upper bounds."""
    if not len(known):
        return np.array([])
    share = len(known) / number
    ends = np.ceil(share * np.arange(1, number + 1)).astype(int) - 1
    uppers = np.unique(known[ends])
    return np.concatenate([[np.nextafter(known[0], -np.inf)], uppers])
