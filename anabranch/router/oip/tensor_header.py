"""Header of a request's tensor, checked before its elements take memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod
from typing import Any

import numpy as np

from anabranch.components.tensors.datatypes import DTYPES, to_dtype
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array
from anabranch.router.limits import ELEMENT, RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.specs.excerpts import shown


def dtype_of(header: Header) -> np.dtype[Any]:
    """Return the NumPy dtype of the datatype; InvalidRequest where there is no such datatype."""
    try:
        return to_dtype(header.datatype)
    except ValueError as error:
        upper = header.datatype.upper()
        meant = f"; did you mean {upper!r}?" if upper in DTYPES else ""
        raise InvalidRequest(f"input {header.name!r}: {error}{meant}") from None


def size_of(header: Header, limits: RequestLimits) -> int:
    """Return the number of elements that the shape stands for; TooLarge over the limits."""
    name, shape = header.name, header.shape
    if len(shape) > limits.max_rank:
        raise TooLarge(
            f"input {name!r} has {len(shape)} dimensions, over the limit of {limits.max_rank}"
        )
    size, most = prod(shape), limits.max_elements
    if size > most or (size == 0 and max(shape) > most):
        raise TooLarge(
            f"input {name!r} of shape {shown(shape)} is over the limit of "
            f"{limits.max_elements} elements"
        )
    if size * ELEMENT > limits.max_decoded:
        _check_memory(f"input {name!r} takes", memory_of(header, size), limits)
    return size


def memory_of(header: Header, size: int) -> int:
    """Return the bytes that ``size`` elements count; InvalidRequest for an unknown datatype."""
    return size * (ELEMENT if header.datatype == "BYTES" else dtype_of(header).itemsize)


def memory_of_arrays(arrays: Iterable[Array]) -> int:
    """Return the bytes that decoded tensors count."""
    return sum(one.size * ELEMENT if one.dtype.hasobject else one.nbytes for one in arrays)


def check_count(count: int, what: str, limits: RequestLimits) -> None:
    """Raise TooLarge for more tensors than a request may have."""
    if count > limits.max_tensors:
        raise TooLarge(f"{count} {what} are over the limit of {limits.max_tensors}")


def check_together(headers: Collection[Header], limits: RequestLimits) -> None:
    """Raise TooLarge where the tensors of a request are over the limits, alone or together.

    InvalidRequest for an unknown datatype.
    """
    sizes = [size_of(header, limits) for header in headers]
    if sum(sizes) > limits.max_elements:
        raise TooLarge(
            f"the inputs have {sum(sizes)} elements together, over the limit of "
            f"{limits.max_elements}"
        )
    memory = sum(map(memory_of, headers, sizes))
    _check_memory("the inputs together take", memory, limits)


def _check_memory(who: str, size: int, limits: RequestLimits) -> None:
    if size > limits.max_decoded:
        raise TooLarge(f"{who} {size} bytes, over the limit of {limits.max_decoded} bytes decoded")
