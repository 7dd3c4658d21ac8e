"""Class scores: floats whose last axis holds a number per class, the largest of which wins."""

from __future__ import annotations

from typing import Any

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of

NO_CLASS = -1
"""The class of a row in which a score is not a number."""


def are_scores(array: Array) -> bool:
    """Tell whether an output looks like class scores: floats, rows, at least two to a row."""
    return kind_of(array.dtype) == "f" and array.ndim >= 2 and array.shape[-1] >= 2


def classes(rows: Array) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the class of each row: the shape is that of ``rows`` without its last axis.

    Of equal scores the first wins.
    """
    winner = rows.argmax(axis=-1)
    # argmax takes the first NaN for the largest score.
    best = np.take_along_axis(rows, winner[..., np.newaxis], axis=-1)[..., 0]
    return np.where(np.isnan(best), NO_CLASS, winner)
