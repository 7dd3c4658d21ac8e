"""Strategies for tensors of every datatype, any bits in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anabranch.components.tensors.datatypes import DTYPES, kind_of

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def arrays(
    draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(DTYPES), for_json: bool = False
) -> tuple[str, Any]:
    """A datatype and an array of it; numbers are any bits, so NaN with payloads too.

    ``for_json``: only what JSON can carry, so finite numbers and BYTES that are text.
    """
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(SHAPES)
    size = int(np.prod(shape))
    if datatype == "BYTES":
        elements = texts if for_json else texts | st.binary(max_size=8)
        return datatype, _objects(draw(st.lists(elements, min_size=size, max_size=size)), shape)
    if datatype == "BOOL":
        return datatype, draw(hnp.arrays(np.bool_, shape))
    dtype = DTYPES[datatype]
    raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    array = np.frombuffer(raw, dtype).reshape(shape).copy()
    if for_json and kind_of(dtype) == "f":
        with np.errstate(invalid="ignore"):
            array[~np.isfinite(array)] = 0
    return datatype, array


def _objects(elements: list[Any], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def same_bits(left: Any, right: Any) -> bool:
    """Whether two arrays are equal in dtype, shape and every bit; texts equal their UTF-8."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == object:
        return list(map(_encoded, left.ravel())) == list(map(_encoded, right.ravel()))
    return bool(left.tobytes() == right.tobytes())


def _encoded(element: Any) -> bytes:
    return element.encode() if isinstance(element, str) else element
