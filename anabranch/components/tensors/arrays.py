"""Converts results of components to NumPy arrays, and arrays to torch tensors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from anabranch.components.tensors.datatypes import BF16, DTYPES

Array = np.ndarray[Any, Any]
"""A tensor on the CPU."""

_TEXTS = (str, bytes)
_NUMBERS = frozenset(dtype for dtype in DTYPES.values() if dtype.kind != "O")


def to_array(value: object) -> Array:
    """Return ``value`` as an array; arrays of plain datatypes pass unchanged, not copied.

    Takes arrays, torch tensors, SciPy sparse arrays, pandas objects, nested lists and scalars.
    Texts become object arrays (BYTES). A TypeError says what cannot be a tensor: ragged lists,
    None, and objects that are neither ``str`` nor ``bytes``.
    """
    if type(value) is np.ndarray and value.dtype in _NUMBERS:
        return value
    return _plain(_foreign(value))


def _foreign(value: object) -> Array:
    """Return any array-like as an array of any dtype."""
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise TypeError("a masked array cannot be a tensor: fill the masked values first")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if is_from("torch", "Tensor", value):
        return _from_torch(value)
    if is_from("scipy.sparse", "sparray", value) or is_from("scipy.sparse", "spmatrix", value):
        return np.asarray(value.toarray())  # type: ignore[attr-defined]
    if isinstance(value, dict | set | frozenset):
        raise TypeError(f"a {type(value).__name__} cannot be a tensor")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(f"a {type(value).__name__} cannot be a tensor: {error}") from None


def is_from(module: str, name: str, value: object) -> bool:
    """Return whether ``value`` is of a class of a module, without importing the module."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)


def _from_torch(value: Any) -> Array:
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if str(tensor.dtype) == "torch.bfloat16":
        return np.asarray(tensor.view(sys.modules["torch"].int16).numpy().view(BF16))
    try:
        return np.asarray(tensor.numpy())
    except TypeError:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise TypeError(f"NumPy has no {dtype}: return .float() or .half() of the tensor") from None


def _plain(array: Array) -> Array:
    """Return the array in native byte order, texts as objects; raise TypeError for other dtypes."""
    if array.dtype.kind in "US":
        return array.astype(object)
    if array.dtype.kind == "O":
        return _checked_texts(array)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype not in _NUMBERS:
        raise TypeError(f"an array of dtype {array.dtype} cannot be a tensor")
    return native


def _checked_texts(array: Array) -> Array:
    for kind in set(map(type, array.flat)):
        if not issubclass(kind, _TEXTS):
            raise TypeError(
                f"an object array cannot be a tensor: it holds a {kind.__name__} "
                "(only str and bytes are allowed)"
            )
    return array


def to_bf16(doubles: Array) -> Array:
    """Return FP64 numbers as BF16, each rounded to the nearest, ties to even.

    The cast of ``ml_dtypes`` goes through FP32. A number that this rounds onto the middle between
    two BF16 numbers is moved back to the side where it was, lest it be rounded twice.
    """
    singles = doubles.astype(np.float32)
    tied = singles.view(np.uint32) & 0xFFFF == 0x8000
    if tied.any():
        side = np.where(doubles > singles, np.float32(np.inf), np.float32(-np.inf))
        singles = np.where(tied & (doubles != singles), np.nextafter(singles, side), singles)
    return singles.astype(BF16)


def to_torch(array: Array) -> Any:
    """Return a torch tensor on the CPU that shares the array's memory where that is safe.

    Read-only arrays are copied, since torch tensors can always be written to. A TypeError for
    BYTES, which torch does not have.
    """
    import torch

    if array.dtype == BF16:
        return to_torch(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"an array of dtype {array.dtype} cannot be a torch tensor")
    sharable = array.flags.writeable and array.dtype.isnative and min((*array.strides, 0)) >= 0
    return torch.from_numpy(
        array if sharable else np.array(array, dtype=array.dtype.newbyteorder("="))
    )
