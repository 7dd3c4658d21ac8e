"""Reasoning about tensor types before the first request.

A type is a ``TensorSpec``, or None where nothing is known. What built-ins say about their outputs
here must hold for every array that they return; where they cannot be sure, they say None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias, TypeVar

import numpy as np

from anabranch.components.tensors.datatypes import BF16, kind_of, to_datatype, to_dtype
from anabranch.specs.models import TensorSpec

Types: TypeAlias = Mapping[str, TensorSpec | None]
"""Types by name of input or output; None for an unknown type."""

Args: TypeAlias = Mapping[str, Any]
"""The ``args`` of a node."""


S = TypeVar("S")
T = TypeVar("T")


class TypeConflict(Exception):
    """The types of a node's inputs do not go together, or do not suit the node."""


def both(shape: Callable[[], S], dtype: Callable[[], T]) -> tuple[S, T]:
    """Return the two results; raise one TypeConflict for what is wrong with either."""
    try:
        found = shape()
    except TypeConflict as conflict:
        try:
            dtype()
        except TypeConflict as other:
            raise TypeConflict(f"{conflict}; {other}") from None
        raise
    return found, dtype()


def typed(dtype: np.dtype[Any], shape: Sequence[int]) -> TensorSpec:
    """Return the type of arrays of that dtype and shape."""
    return TensorSpec.model_validate({"datatype": to_datatype(dtype), "shape": tuple(shape)})


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """Return the dtype of a type."""
    return to_dtype(spec.datatype)


def common(dtypes: Sequence[np.dtype[Any]], what: str, *, texts: bool = False) -> np.dtype[Any]:
    """Return the dtype that holds the values of all, by NumPy's promotion.

    BF16 stays what it is among itself, and counts as FP32 beside others.
    TypeConflict where there is none: BYTES beside numbers (or at all, unless ``texts``), and
    INT64 beside UINT64, which would turn labels and identifiers into inexact floats.
    """
    if any(dtype.kind in "OUS" for dtype in dtypes):
        return _common_text(dtypes, what, texts)
    found = _promoted(dtypes)
    if found.kind == "f" and all(dtype.kind in "iub" for dtype in dtypes):
        raise TypeConflict(f"{what} has no whole number that holds both INT64 and UINT64: cast one")
    return found


def _common_text(dtypes: Sequence[np.dtype[Any]], what: str, texts: bool) -> np.dtype[Any]:
    if not texts:
        raise TypeConflict(f"{what} cannot calculate with BYTES")
    if any(dtype.kind not in "OUS" for dtype in dtypes):
        raise TypeConflict(f"{what} cannot mix BYTES with numbers")
    return np.dtype(np.object_)


def _promoted(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    if all(dtype == BF16 for dtype in dtypes):
        return BF16
    return np.result_type(*(np.float32 if dtype == BF16 else dtype for dtype in dtypes))


def floating(dtypes: Sequence[np.dtype[Any]], what: str) -> np.dtype[Any]:
    """Return the float that calculations on these dtypes give: FP64 for whole numbers and BOOL."""
    if any(dtype.kind in "OUS" for dtype in dtypes):
        raise TypeConflict(f"{what} cannot calculate with BYTES")
    found = _promoted(dtypes)
    return found if kind_of(found) == "f" else np.dtype(np.float64)


@cache
def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the float to calculate in: FP32 for FP16 and BF16, which are too narrow for sums."""
    return np.dtype(np.float32) if dtype in (np.float16, BF16) else dtype


def unify(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the common shape; raise TypeConflict where there is none."""
    check_ranks(shapes)
    return tuple(_unify_sizes(sizes, shapes) for sizes in zip(*shapes, strict=True))


def check_ranks(shapes: Sequence[Sequence[int]]) -> None:
    """Raise TypeConflict where shapes have different numbers of dimensions."""
    if len({len(shape) for shape in shapes}) != 1:
        raise TypeConflict(f"ranks differ: {_listed(shapes)}")


def _unify_sizes(sizes: Sequence[int], shapes: Sequence[Sequence[int]]) -> int:
    known = {size for size in sizes if size != -1}
    if len(known) > 1:
        raise TypeConflict(f"shapes differ: {_listed(shapes)}")
    return known.pop() if known else -1


def axis_of(axis: int, rank: int) -> int:
    """Return ``axis`` counted from the front; raise TypeConflict if it is out of range."""
    if not -rank <= axis < rank:
        raise TypeConflict(f"axis {axis} is out of range for a tensor of rank {rank}")
    return axis % rank


def _listed(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
