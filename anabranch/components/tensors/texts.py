"""Texts in BYTES tensors: elements are ``str``, or ``bytes`` where they are raw.

Protocols carry bytes. Their decoders return ``str`` for a tensor whose elements are all UTF-8, and
else ``bytes``; the declaration of the graph's input then says which of the two components get.
Components may return either.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from anabranch.components.tensors.arrays import Array


def decoded(elements: list[bytes]) -> list[str] | list[bytes]:
    """Return the elements as ``str``; as they are where any of them is no UTF-8."""
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        return elements


def is_text(array: Array) -> bool:
    """Return whether a tensor of BYTES, as decoders return them, holds ``str``: by one element."""
    return not array.size or isinstance(array.item(0), str)


def as_text(array: Array) -> Array:
    """Return the tensor with ``str`` in place of ``bytes``; one without ``bytes`` as it is.

    ValueError where an element of BYTES is not UTF-8.
    """
    if array.dtype.kind not in "OS":
        return array
    elements = array.ravel().tolist()
    if not any(isinstance(element, bytes) for element in elements):
        return array
    return filled(map(_text, range(len(elements)), elements), array.shape)


def as_raw(array: Array) -> Array:
    """Return the tensor of BYTES with ``bytes`` in place of ``str``, in UTF-8.

    ValueError for a ``str`` with a lone surrogate, which has no UTF-8.
    """
    elements = array.ravel().tolist()
    return filled(map(_raw, range(len(elements)), elements), array.shape)


def filled(elements: Iterable[Any], shape: tuple[int, ...]) -> Array:
    """Return elements as a tensor of BYTES."""
    flat = np.empty(prod(shape), object)
    flat[:] = list(elements)
    return flat.reshape(shape)


def _text(index: int, element: Any) -> Any:
    try:
        return element.decode() if isinstance(element, bytes) else element
    except UnicodeDecodeError:
        raise ValueError(f"element {index} is not text in UTF-8") from None


def _raw(index: int, element: Any) -> Any:
    try:
        return element.encode() if isinstance(element, str) else element
    except UnicodeEncodeError:
        raise ValueError(f"element {index} is not text in UTF-8") from None
