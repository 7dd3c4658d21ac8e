"""The one node of the graph for ``benchmarks.payloads``: as little work as there is, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Negate:
    """FP32 of any four sizes, in and out."""

    def transform(self, x: Floats) -> Floats:
        return -x
