"""State of a monitor that outlives its process: its reference, and its counts.

The number of windows above all: each gets its share of the chance of a false alarm once.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from anabranch.components.tensors.datatypes import BF16
from anabranch.files import replacing
from anabranch.monitors.table import as_texts

Array = np.ndarray[Any, Any]

logger = logging.getLogger("anabranch.monitors")


@dataclass
class MonitorMemory:
    """Counts over all windows; ``calm`` are those without drift at the end."""

    windows: int = 0
    rows: int = 0
    outliers: int = 0
    alarms: int = 0
    calm: int = 0
    drift_since: float | None = None


KEPT_REVISIONS = 16
"""Revisions of a graph, the newest, of which something is kept."""


def tidy(folder: Path) -> None:
    """Remove what was kept of old revisions of a graph; ``folder`` is that of the newest."""
    revisions = {
        int(one.name[1:]): one for one in folder.parent.glob("r*") if one.name[1:].isdigit()
    }
    for number in sorted(revisions)[:-KEPT_REVISIONS]:
        shutil.rmtree(revisions[number], ignore_errors=True)


class MonitorFiles:
    """The files of one monitor in a folder. What cannot be written or read is logged and done
    without.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self._counts = folder / f"{monitor}.json"
        self._sample = folder / f"{monitor}.npz"

    def memory(self) -> MonitorMemory:
        """The counts; from zero where there are none."""
        try:
            return MonitorMemory(**json.loads(self._counts.read_text()))
        except FileNotFoundError:
            return MonitorMemory()
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s cannot be read, counts begin anew: %s", self._counts.name, error)
            return MonitorMemory()

    def remember(self, memory: MonitorMemory) -> None:
        """Keep the counts."""
        text = json.dumps(asdict(memory)).encode()
        self._write(self._counts, lambda file: file.write(text))

    def reference(self) -> dict[str, Array] | None:
        """The reference that was gathered; None where there is none."""
        try:
            with np.load(self._sample, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s cannot be read, it is gathered anew: %s", self._sample.name, error)
            return None

    def keep(self, reference: Mapping[str, Array]) -> None:
        """Keep the reference, in dtypes that NumPy has by itself."""
        arrays = {name: _plain(array) for name, array in reference.items()}
        self._write(self._sample, lambda file: np.savez(file, **arrays))

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                write(file)
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be kept: %s", path.name, error)


def _plain(array: Array) -> Array:
    if array.dtype == BF16:
        return array.astype(np.float32)
    return as_texts(array) if array.dtype == object else array
