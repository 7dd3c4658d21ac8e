"""The parts of the digits graph that are ours; the models come from ``train.py``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Scale:
    """Brings brightness into 0 to 1, as both models were trained on."""

    def __init__(self, divide_by: float) -> None:
        if divide_by <= 0:
            raise ValueError(f"divide_by is {divide_by}; it must be above 0")
        self._factor = np.float32(1 / divide_by)

    def transform(self, pixels: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Scale FP32 ``[n, 64]`` to FP32 ``[n, 64]``."""
        return {"scaled": pixels * self._factor}
