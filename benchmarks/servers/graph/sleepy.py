"""What sleeps in the benchmark of cold starts; it notes when it gets how far."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

IMPORTED = time.time()


class Noting:
    """Adds 1, and writes down for each process when it was imported, loaded, and first called."""

    def __init__(self, notes: str) -> None:
        self._notes = Path(notes)
        self._loaded = 0.0
        self._called = False

    def load(self) -> None:
        self._loaded = time.time()

    def transform(self, x: Any) -> Any:
        if not self._called:
            self._called = True
            found = {
                "started": _started(),
                "imported": IMPORTED,
                "loaded": self._loaded,
                "called": time.time(),
            }
            self._notes.write_text(json.dumps(found))
        return self._answer(x)

    def _answer(self, x: Any) -> Any:
        return x + 1


def _started() -> float:
    """The Unix time at which this process began, to a hundredth of a second."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


class Numpy(Noting):
    """A graph that needs NumPy alone."""


class Torch(Noting):
    """A graph with a small PyTorch network on the CPU."""

    def load(self) -> None:
        import torch

        self._network = torch.nn.Sequential(torch.nn.Linear(2, 256), torch.nn.Linear(256, 2))
        super().load()

    def _answer(self, x: Any) -> Any:
        import torch

        with torch.inference_mode():
            return self._network(torch.from_numpy(x)).numpy()
