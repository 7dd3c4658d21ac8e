"""Constants of ``on_error: {value: …}``: a value of the spec as an array of a known type.

The value is either the whole tensor; or where the first dimension of the type is open, one row,
which is repeated for each row of the node's first input. A single number or text fills the tensor
or the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import fits, to_dtype
from anabranch.specs.excerpts import shown
from anabranch.specs.models import TensorSpec

_TAKES: dict[str, tuple[tuple[type, ...], str]] = {
    "b": ((bool,), "true or false"),
    "i": ((int,), "whole numbers"),
    "u": ((int,), "whole numbers"),
    "O": ((str,), "texts"),
}
"""Types of a tensor's elements in YAML, and their name in messages, by the kind of its dtype."""
_FLOATS: tuple[tuple[type, ...], str] = ((int, float), "numbers")


@dataclass(frozen=True)
class TypedConstant:
    """An array of the type, or of one row of it."""

    array: Array
    is_row: bool

    def of_rows(self, rows: int) -> Array:
        """The tensor for a request of so many rows; it may not be written to."""
        if not self.is_row:
            return self.array
        found = np.repeat(self.array[np.newaxis], rows, axis=0)
        found.flags.writeable = False
        return found


def constant(value: object, spec: TensorSpec) -> TypedConstant:
    """Return the constant of type ``spec``; a ValueError says why ``value`` is none."""
    array = _elements(value, spec.datatype)
    if fits(spec.shape, array.shape):
        return TypedConstant(array, is_row=False)
    is_row = spec.shape[:1] == (-1,)
    inner = spec.shape[1:] if is_row else spec.shape
    if array.ndim == 0 and -1 not in inner:
        array = np.full(inner, array, dtype=array.dtype)
        array.flags.writeable = False
    if not fits(inner, array.shape):
        of_row = f", nor {list(inner)}, one row of it" if is_row else ""
        raise ValueError(f"shape {list(array.shape)} is not that of {spec}{of_row}")
    return TypedConstant(array, is_row)


def _elements(value: object, datatype: str) -> Array:
    dtype = to_dtype(datatype)
    types, named = _TAKES.get(dtype.kind, _FLOATS)
    for item in _flat(value):
        if type(item) not in types:
            raise ValueError(f"{datatype} takes {named}, not {shown(item)}")
        if isinstance(item, int) and not _is_in_range(item, dtype):
            raise ValueError(f"{shown(item)} is no {datatype}")
    try:
        with np.errstate(over="ignore"):
            array: Array = np.array(value, dtype=dtype)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is no tensor of {datatype}") from None
    if any(isinstance(item, list) for item in array.flat) or not _is_finite(array):
        raise ValueError(f"{shown(value)} is no tensor of {datatype}")
    array.flags.writeable = False
    return array


def _is_in_range(number: int, dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "iu":
        return True
    return bool(np.iinfo(dtype).min <= number <= np.iinfo(dtype).max)


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _is_finite(array: Array) -> bool:
    if array.dtype.kind in "biuO":
        return True
    wide: np.ndarray[Any, Any] = array.astype(np.float64)
    return bool(np.isfinite(wide).all())
