"""Arrays as they cross: a description in the header, and their bytes behind it.

The bytes are little-endian and row-major, as ``anabranch.router.oip.raw_tensors`` describes them
for clients; a BYTES element is its length as four bytes, and then so many bytes. Which elements of
BYTES are ``str`` stands in the description. Dtypes that the protocol lacks go by NumPy's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import starmap
from math import prod
from struct import Struct
from struct import error as StructError
from typing import Any, TypeAlias

import numpy as np

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.serve.streams.frames import ALIGNMENT, SMALL, Parts

Array: TypeAlias = np.ndarray[Any, Any]

_LENGTH = Struct("<I")
_NAME = re.compile(r"[<>|=]?[biufcmMSU][0-9]{1,9}(\[[0-9a-zA-Z]{1,8}\])?").fullmatch
"""Names of NumPy's dtypes without objects in them: views of those would be of any memory."""
_KINDS = frozenset("biufcmMSU")
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BYTES"}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
ALL_TEXTS, NO_TEXTS = True, False
"""In the description of a BYTES array, in place of a list with one of them for each element."""


def describe(array: Array, parts: Parts) -> list[Any] | None:
    """Return datatype, place and shape of an array; None for one of a dtype that has no name here.

    An array of SMALL bytes or more is copied only if it is not contiguous.
    """
    name = _NAMES.get(array.dtype) or _name(array.dtype)
    if name is None:
        return None
    if array.nbytes < SMALL:
        return [name, parts.add(array.tobytes()), *array.shape]
    whole = np.ascontiguousarray(array)
    return [name, parts.add(whole.reshape(-1).view(np.uint8).data), *array.shape]


def _name(dtype: np.dtype[Any]) -> str | None:
    """Return NumPy's name of a dtype of which it says all."""
    is_plain = dtype.kind in _KINDS and _NAME(dtype.str) is not None
    return dtype.str if is_plain else None


def restore(described: list[Any], rest: memoryview) -> Array:
    """Return an array as a view of its bytes in ``rest``, which may be written to.

    ``described`` is a tag and a description. Raises ValueError or TypeError where there is no such
    array.
    """
    _, name, place, *shape = described
    # NumPy takes a place before the buffer for granted, and -1 for as much as there is.
    if place < 0 or place % ALIGNMENT or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} begins at byte {place}")
    dtype = _DTYPES.get(name)
    return np.ndarray(shape, _named(name) if dtype is None else dtype, rest, place)


@lru_cache(256)
def _named(name: str) -> np.dtype[Any]:
    if _NAME(name) is None:
        raise ValueError(f"{name[:32]!r} is no dtype that can cross processes")
    return np.dtype(name)


def describe_texts(array: Array, parts: Parts) -> list[Any] | None:
    """Return the description of an array of ``str`` and ``bytes``; None for one of other objects.

    None as well where an element has no UTF-8, or is too long for its length.
    """
    elements = array.ravel().tolist()
    kinds = set(map(type, elements))
    if not kinds <= {str, bytes}:
        return None
    texts = [type(one) is str for one in elements] if len(kinds) == 2 else str in kinds
    try:
        raw = [one.encode() if type(one) is str else one for one in elements]
        data = b"".join([piece for one in raw for piece in (_LENGTH.pack(len(one)), one)])
    except (UnicodeEncodeError, OverflowError, StructError):
        return None
    return [parts.add(data), len(data), texts, *array.shape]


def restore_texts(described: list[Any], rest: memoryview) -> Array:
    """Return an array of ``str`` and ``bytes``, as ``restore`` does; it raises likewise."""
    _, place, size, texts, *shape = described
    count = prod(shape)
    data = bytes(rest[place : place + size])
    if count < 0 or count * _LENGTH.size > len(data) or len(data) != size:
        raise ValueError(f"{count} elements of BYTES in {len(data)} bytes of {size}")
    elements = _split(data, count)
    flat = np.empty(count, object)
    if texts is ALL_TEXTS:
        flat[:] = [one.decode() for one in elements]
    elif texts is NO_TEXTS:
        flat[:] = elements
    else:
        flat[:] = list(starmap(_element, zip(elements, texts, strict=True)))
    return flat.reshape(shape)


def _element(data: bytes, is_text: bool) -> str | bytes:
    return data.decode() if is_text else data


def _split(data: bytes, count: int) -> list[bytes]:
    elements, at = [], 0
    length_at: Callable[[bytes, int], tuple[int]] = _LENGTH.unpack_from
    for _ in range(count):
        start = at + _LENGTH.size
        at = start + length_at(data, at)[0]
        elements.append(data[start:at])
    if at != len(data):
        raise ValueError(f"{count} elements of BYTES end at {at} of {len(data)} bytes")
    return elements
