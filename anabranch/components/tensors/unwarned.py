"""Calculations whose infinities and NaNs are values like others, of which NumPy does not warn."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np


class _ErrorMask:
    """``np.errstate(all="ignore")`` of NumPy 1, without the 5 us that this takes there."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _get()
        size, _, call = self._before
        _set([size, 0, call])

    def __exit__(self, *_: object) -> None:
        _set(self._before)


_get: Any = getattr(np, "geterrobj", None)
_set: Any = getattr(np, "seterrobj", None)


def unwarned() -> AbstractContextManager[None]:
    """Return a context, for this thread, in which no result of floats is warned of."""
    return _ErrorMask() if _set is not None else np.errstate(all="ignore")
