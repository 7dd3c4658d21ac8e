"""Is a fruit ripe? Two small models in plain NumPy, each with an opinion of its own.

A fruit is ``[sugar, firmness]``, each from 0 to 1. Both models turn FP32 ``[n, 2]`` into FP32
``[n, 2]``: the probabilities of unripe and ripe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Linear:
    """Logistic regression: sugar speaks for ripe, firmness against it."""

    def __init__(self, weights: Sequence[float] = (6.0, -4.0), bias: float = -1.0) -> None:
        self._weights = np.asarray(weights, np.float32)
        self._bias = np.float32(bias)

    def predict(self, x: Floats) -> Floats:
        """Return the probabilities of unripe and ripe."""
        ripe = 1 / (1 + np.exp(-(x @ self._weights + self._bias)))
        return np.stack([1 - ripe, ripe], axis=-1)


class Nearest:
    """The nearer a typical fruit of a kind, the likelier that kind."""

    def __init__(self, unripe: Sequence[float] = (0.2, 0.9), ripe: Sequence[float] = (0.8, 0.3)):
        self._typical = np.asarray([unripe, ripe], np.float32)

    def predict(self, x: Floats) -> Floats:
        """Return the probabilities of unripe and ripe."""
        distances = np.linalg.norm(x[:, None, :] - self._typical, axis=-1)
        closeness = np.exp(-4 * distances)
        return closeness / closeness.sum(axis=-1, keepdims=True)
