"""Values as a program gives them, as tensors of the types that a graph declares.

Arrays and torch tensors have a datatype, and keep it. Plain values (lists, numbers, texts, pandas
objects) become the declared datatype by the rules of the protocol's JSON: numbers in the range,
each rounded to the nearest; ``1.0`` is an integer; booleans are no numbers, texts are neither.
Leading dimensions of 1 may be left out of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np

from anabranch.components.tensors.arrays import Array, is_from, to_array, to_bf16
from anabranch.components.tensors.datatypes import BF16, kind_of, to_dtype
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import TensorSpec

_PLAIN = (list, tuple, bool, int, float, str, bytes)
_EXACT_AS_FLOAT = 2**53
"""Integers up to here, either side of zero, are numbers of double precision, too."""

_MOST_DIMENSIONS = 32
"""Those that any version of NumPy has."""


def is_plain(value: object) -> bool:
    """Return whether a value has no datatype of its own that counts, but that of its input."""
    return isinstance(value, _PLAIN) or _is_pandas(value)


def is_frame(value: object) -> bool:
    """Return whether a value is a pandas DataFrame, without importing pandas."""
    return is_from("pandas", "DataFrame", value)


def _is_pandas(value: object) -> bool:
    return any(is_from("pandas", name, value) for name in ("DataFrame", "Series", "Index"))


def by_input(given: Any, inputs: Mapping[str, TensorSpec], graph: str) -> dict[str, Any]:
    """Return given values by input of a graph.

    A mapping is that already. Of a pandas frame each column is the input of its name; a frame
    without a column of any input's name, and any other value, is the only input. Raise
    InvalidRequest for names that are no inputs, and for a bare value where there are several.
    """
    if is_frame(given) and any(column in inputs for column in given.columns):
        given = {str(name): given[name] for name in given.columns}
    if isinstance(given, Mapping):
        for name in given:
            if name not in inputs:
                raise InvalidRequest(
                    f"graph {graph!r} has no input {name!r}{hint(str(name), inputs)}"
                )
        return dict(given)
    if len(inputs) != 1:
        raise InvalidRequest(
            f"graph {graph!r} has {len(inputs)} inputs: give values by name, for "
            f"{', '.join(inputs)}"
        )
    return dict.fromkeys(inputs, given)


def to_tensor(name: str, value: Any, declared: TensorSpec) -> Array:
    """Return the value of an input as an array; one with a datatype of its own as it is.

    Raise InvalidRequest, by the input's name, for a value that cannot be a tensor, and for a plain
    value that does not fit the declared datatype or shape.
    """
    if not is_plain(value):
        return _own(name, value)
    array = value.to_numpy() if _is_pandas(value) else _nested(name, value)
    return from_column(name, array, declared)


def from_column(name: str, array: Array, declared: TensorSpec) -> Array:
    """Return an array of plain values as a tensor of the declared datatype and shape.

    Its dtype counts no more than that of a list does. Raise InvalidRequest, by the input's name,
    for a value that does not fit.
    """
    return _fitted(name, _converted(name, array, declared.datatype), declared)


def to_tensors(given: Mapping[str, Any]) -> dict[str, Array] | None:
    """Return values with datatypes of their own as arrays by input; None if one has none.

    Raise InvalidRequest, by the input's name, for a value that cannot be a tensor.
    """
    if any(map(is_plain, given.values())):
        return None
    return {name: _own(name, value) for name, value in given.items()}


def _own(name: str, value: Any) -> Array:
    try:
        return to_array(value)
    except TypeError as error:
        raise InvalidRequest(f"input {name!r}: {error}") from None


def fit(name: str, shape: Sequence[int], declared: Sequence[int]) -> list[int]:
    """Return ``shape`` in the form that the graph declares, where it is unambiguous.

    A single row may lack its leading dimension: ``[64]`` fits ``[-1, 64]`` as ``[1, 64]``. Raise
    InvalidRequest for a shape with another number of elements.
    """
    filled = list(shape)
    if len(shape) < len(declared):
        filled = [1 if size == -1 else size for size in declared[: -len(shape) or None]]
        filled += shape
    if len(filled) != len(declared) or prod(filled) != prod(shape):
        raise InvalidRequest(
            f"input {name!r} has shape {list(shape)}, the graph takes {list(declared)}"
        )
    return filled


def _fitted(name: str, array: Array, declared: TensorSpec) -> Array:
    """A column of a frame also fits an input with one column."""
    if array.ndim == 1 and len(declared.shape) == 2 and declared.shape[1] == 1:
        return array.reshape(-1, 1)
    return array.reshape(fit(name, array.shape, declared.shape))


def _nested(name: str, value: Any) -> Array:
    """Return nested lists as an array of objects; raise InvalidRequest for ragged or deep ones."""
    try:
        shape = nested_shape(name, value)
    except RecursionError:
        shape = [1] * (_MOST_DIMENSIONS + 1)
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidRequest(f"input {name!r}: lists are nested {_MOST_DIMENSIONS} deep at most")
    array = np.empty(prod(shape), object)
    array[:] = flat(value)
    return array.reshape(shape)


def nested_shape(name: str, value: Any) -> list[int]:
    """Return the shape of nested lists, ``[]`` for a scalar; raise InvalidRequest if ragged."""
    if isinstance(value, np.ndarray):
        return list(value.shape)
    if not isinstance(value, list | tuple):
        return []
    shapes = [nested_shape(name, item) for item in value]
    if any(shape != shapes[0] for shape in shapes):
        raise InvalidRequest(f"input {name!r}: the lists do not all have the same length")
    return [len(value), *(shapes[0] if shapes else [])]


def flat(value: Any) -> list[Any]:
    """Return the elements of nested lists, row by row."""
    if isinstance(value, np.ndarray):
        return list(value.flat)
    if not isinstance(value, list | tuple):
        return [value]
    return [element for item in value for element in flat(item)]


def _converted(name: str, array: Array, datatype: str) -> Array:
    if datatype == "BYTES":
        return _texts(name, array)
    if array.dtype.kind == "O":
        array = _numbers(name, array, datatype)
    dtype, kind = to_dtype(datatype), kind_of(array.dtype)
    if (kind == "b") != (dtype.kind == "b") or kind not in "biuf":
        _refuse(name, datatype, array.flat[0] if array.size else array.dtype)
    if dtype.kind in "iu":
        return _whole(name, array, datatype, dtype)
    return _rounded(name, array, datatype, dtype)


def _texts(name: str, array: Array) -> Array:
    for element in array.flat:
        if not isinstance(element, str | bytes):
            _refuse(name, "BYTES", element)
    return array.astype(object)


def _numbers(name: str, array: Array, datatype: str) -> Array:
    """Return objects as numbers or booleans: integers exactly, all else in double precision."""
    elements = array.ravel().tolist()
    for element in elements:
        boolean = isinstance(element, bool | np.bool_)
        number = isinstance(element, int | float | np.integer | np.floating) and not boolean
        if not (boolean if datatype == "BOOL" else number):
            _refuse(name, datatype, element)
    if datatype == "BOOL":
        return np.array(elements, np.bool_).reshape(array.shape)
    if to_dtype(datatype).kind in "iu":
        elements = [_integer(name, datatype, element) for element in elements]
        return _in_range(name, elements, datatype).reshape(array.shape)
    try:
        return np.array(elements, np.float64).reshape(array.shape)
    except OverflowError:
        _refuse(name, datatype, max(elements, key=abs))


def _integer(name: str, datatype: str, element: Any) -> int:
    if isinstance(element, float | np.floating) and not _is_whole(float(element)):
        _refuse(name, datatype, element)
    return int(element)


def _is_whole(number: float) -> bool:
    return number.is_integer() and abs(number) <= _EXACT_AS_FLOAT


def _in_range(name: str, elements: list[int], datatype: str) -> Array:
    bounds = np.iinfo(to_dtype(datatype))
    for element in elements:
        if not bounds.min <= element <= bounds.max:
            _refuse(name, datatype, element)
    return np.array(elements, to_dtype(datatype))


def _whole(name: str, array: Array, datatype: str, dtype: np.dtype[Any]) -> Array:
    if array.dtype == dtype:
        return array
    bounds = np.iinfo(dtype)
    if array.dtype.kind == "f":
        wrong = ~(np.equal(np.floor(array), array) & (np.abs(array) <= _EXACT_AS_FLOAT))
        if wrong.any():
            _refuse(name, datatype, array[wrong][0])
        array = array.astype(np.int64)
    wrong = (array < bounds.min) | (array > bounds.max)
    if wrong.any():
        _refuse(name, datatype, array[wrong][0])
    return array.astype(dtype)


def _rounded(name: str, array: Array, datatype: str, dtype: np.dtype[Any]) -> Array:
    """Return numbers as floats; NaN and the infinities stay what they are."""
    with np.errstate(over="ignore"):
        if dtype == BF16 and array.dtype != BF16:
            found = to_bf16(array.astype(np.float64))
        else:
            found = array.astype(dtype)
        lost = np.isinf(found.astype(np.float64)) & np.isfinite(array.astype(np.float64))
    if lost.any():
        _refuse(name, datatype, array[lost][0])
    return found


def _refuse(name: str, datatype: str, element: Any) -> NoReturn:
    value = element.item() if isinstance(element, np.generic) else element
    raise InvalidRequest(
        f"input {name!r} is {datatype}, and {shown(value)} is no such value, or out of its range"
    )
