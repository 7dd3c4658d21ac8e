"""A model whose cost and precision are set by one number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Exponential:
    """Sums the first terms of the series of e to the power of x."""

    def __init__(self, terms: int) -> None:
        self._terms = terms

    def predict(self, x: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.generic]]:
        """Return ``value`` (FP64 ``[n]``) and how many ``terms`` it took (INT64 ``[1]``)."""
        total = power = np.ones_like(x)
        for term in range(1, self._terms):
            power = power * x / term
            total = total + power
        return {"value": total, "terms": np.array([self._terms])}
