"""Datatypes of the Open Inference Protocol and their NumPy dtypes.

BYTES is NumPy's ``object`` (elements are ``str`` or ``bytes``); fixed-width string arrays (``<U5``,
``S5``) count as BYTES too. NumPy itself has no bfloat16: BF16 is that of ``ml_dtypes``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from anabranch.specs.excerpts import hint
from anabranch.specs.models import TensorSpec

BF16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": BF16,
    "BYTES": np.dtype(np.object_),
}
"""The dtype of every datatype."""

_DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}


def to_dtype(datatype: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a datatype; raise ValueError for an unknown datatype."""
    if datatype in DTYPES:
        return DTYPES[datatype]
    raise ValueError(f"unknown datatype {datatype!r}{hint(datatype, DTYPES)}")


def to_datatype(dtype: np.dtype[Any]) -> str:
    """Return the datatype of a NumPy dtype; raise ValueError for a dtype without one."""
    found = _DATATYPES.get(dtype)
    return found if found is not None else _rare_datatype(dtype)


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return the ``kind`` of a dtype, "f" for BF16 too, which NumPy counts as "V"."""
    return "f" if dtype == BF16 else dtype.kind


def _rare_datatype(dtype: np.dtype[Any]) -> str:
    """Return the datatype of fixed-width strings and of dtypes in foreign byte order."""
    if dtype.kind in "US":
        return "BYTES"
    native = _DATATYPES.get(dtype.newbyteorder("="))
    if native is None:
        raise ValueError(
            f"dtype {dtype} is no datatype of the protocol (available: {', '.join(DTYPES)})"
        )
    return native


def matches(spec: TensorSpec, array: np.ndarray[Any, Any]) -> str | None:
    """Return None where the array is of the type ``spec``, else the mismatch."""
    try:
        datatype = to_datatype(array.dtype)
    except ValueError as error:
        return str(error)
    if datatype != spec.datatype:
        return f"datatype {datatype}, expected {spec.datatype}"
    if not fits(spec.shape, array.shape):
        return f"shape {list(array.shape)}, expected {list(spec.shape)}"
    return None


def fits(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a shape fits the declared one; -1 stands for any size."""
    if len(declared) != len(shape):
        return False
    # A loop: this runs for every tensor of every request, and a generator takes twice as long.
    for want, have in zip(declared, shape, strict=True):
        if want != have and want != -1:
            return False
    return True
