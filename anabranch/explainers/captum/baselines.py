"""The baseline: the neutral input with which a method compares a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import inside
from anabranch.errors import InvalidRequest

ZERO = "zero"


class Baseline:
    """A number for every place of a row, or one row from a file of the bundle (.npy)."""

    def __init__(self, given: float | str, root: Path) -> None:
        """Read the file; CannotLoad where it holds no row of numbers."""
        self._row: Any = 0.0 if given == ZERO else given
        if isinstance(self._row, str):
            self._row = _read(self._row, root)

    def of(self, rows: Any) -> Any:
        """Return the baseline as one row [1, ...]; raise InvalidRequest for another shape."""
        first = rows[:1].detach()
        if isinstance(self._row, float | int):
            return first.new_full(first.shape, self._row)
        if self._row.shape != tuple(first.shape[1:]):
            raise InvalidRequest(
                f"the rows to explain have shape {list(first.shape[1:])}, but the baseline is a "
                f"row of shape {list(self._row.shape)}"
            )
        return first.new_tensor(self._row)[None]


def _read(name: str, root: Path) -> np.ndarray[Any, Any]:
    path = inside(name, root)
    try:
        row = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CannotLoad(f"cannot read the baseline {name}: {error}") from None
    if not isinstance(row, np.ndarray) or row.dtype.kind not in "fiu":
        raise CannotLoad(f"the baseline {name} holds no array of numbers (.npy)")
    return row
