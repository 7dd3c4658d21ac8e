"""The network of ``benchmarks.batching`` for the peers: the file that anabranch serves as well.

``NETWORK`` names it. ``MAX_BATCH_SIZE`` says how many requests go together, 0 for no batching.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
MAX_BATCH_SIZE = int(os.environ["MAX_BATCH_SIZE"])


class Network:
    """FP32 ``[n, 64]`` to ``[n, 8]``. Several threads may call it at once."""

    def __init__(self) -> None:
        self._module = torch.export.load(os.environ["NETWORK"]).module()

    def __call__(self, x: Floats) -> Floats:
        with torch.inference_mode():
            y: Floats = self._module(torch.from_numpy(x)).numpy()
        return y
