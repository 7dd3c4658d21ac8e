"""The ``data`` of a JSON tensor: bytes to an array, strictly of one datatype and shape.

Data comes flat or nested. Decoding nested lists as they are takes some 130 bytes for each inner
list and stops the event loop for seconds on a large tensor. So the brackets are compared with those
that the shape calls for, as bytes, and taken out; what is left is flat.
"""

from __future__ import annotations

import re
from itertools import chain
from math import prod
from types import GenericAlias
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from anabranch.components.tensors.arrays import to_bf16
from anabranch.components.tensors.datatypes import BF16
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array
from anabranch.router.limits import ELEMENT, LARGE, RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.tensor_header import dtype_of, size_of
from anabranch.specs.excerpts import shown

_SHOW_VALUES_BELOW = 2**16
"""Data longer than this, in bytes, is not decoded a second time to show the wrong value."""
_STRUCTURE = b"[],"
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))
_NO_ELEMENTS = b"[], \t\r\n"
SLICE = 64 * 2**10
"""Bytes of lists of numbers that are decoded at a time."""
_IS_LIST = re.compile(rb"[ \t\r\n]*\[").match
_IS_NESTED = re.compile(rb"\[[ \t\r\n]*\[").match

# Half-way between the largest finite number and what would be next: from there on, rounding to the
# nearest gives infinity.
_BOUNDS = {"FP16": 65520.0, "FP32": 3.4028235677973366e38, "BF16": 3.39617752923046e38}


def _integer(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high)]


_ELEMENTS: dict[str, Any] = {
    "BOOL": bool,
    **{f"UINT{bits}": _integer(0, 2**bits - 1) for bits in (8, 16, 32)},
    # Its upper bound is more than a constraint can hold; NumPy refuses what is over it.
    "UINT64": Annotated[int, Meta(ge=0)],
    **{f"INT{bits}": _integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{name: Annotated[float, Meta(gt=-bound, lt=bound)] for name, bound in _BOUNDS.items()},
    "FP64": float,
    "BYTES": str,
}
"""Types that the JSON elements of a tensor must have, by its datatype."""


def _decoder(kind: Any, depth: int) -> msgspec.json.Decoder[list[Any]]:
    for _ in range(depth):
        kind = GenericAlias(list, (kind,))
    return msgspec.json.Decoder(kind)


_FLAT = {datatype: _decoder(kind, 1) for datatype, kind in _ELEMENTS.items()}
_OR_FLOATS = {
    datatype: _decoder(kind | float, 1)
    for datatype, kind in _ELEMENTS.items()
    if datatype.lstrip("U").startswith("INT")
}
_EXACT_AS_FLOAT = 2**53
"""Integers up to here, either side of zero, are numbers of double precision, too."""


def decode_elements(header: Header, data: bytes, limits: RequestLimits) -> Array:
    """Return JSON ``data`` as an array of the datatype and shape that the header says.

    ``data`` is well-formed JSON. Raises InvalidRequest, and TooLarge before elements take memory.
    """
    dtype = dtype_of(header)
    size = size_of(header, limits)
    nested = len(header.shape) > 1 and _IS_NESTED(data) is not None
    if header.datatype == "BYTES":
        check_texts(header.name, data, limits)
        elements = decode_nested(header, data) if nested else _decode(header, data)
    else:
        _check_filled(header, data, size)
        if len(data) > SLICE and _IS_LIST(data):
            return _in_slices(header, data, size, dtype, nested)
        elements = _nested_numbers(header, data, size) if nested else _decode(header, data)
    if len(elements) != size:
        raise InvalidRequest(_not_filled(header, len(elements)))
    return _array(header, elements, dtype).reshape(header.shape)


def _array(header: Header, elements: list[Any], dtype: np.dtype[Any], first: int = 0) -> Array:
    """Return elements as a flat array; errors call the first of them number ``first``."""
    try:
        if dtype is BF16:
            return to_bf16(np.array(elements, np.float64))
        return np.fromiter(elements, dtype, len(elements))
    except OverflowError:
        raise InvalidRequest(_over_64_bits(header, elements, first)) from None


def _in_slices(header: Header, data: bytes, size: int, dtype: np.dtype[Any], nested: bool) -> Array:
    """Return long lists of numbers, which are decoded slice by slice.

    As one list of Python's they would take many times their memory in an array, and no other thread
    would run until all were there.
    """
    if nested:
        _check_nested(header, data)
        data = data.translate(None, b"[]")
    at, end = (0, len(data)) if nested else (data.index(b"[") + 1, data.rindex(b"]"))
    array: Array = np.empty(size, dtype)
    filled = 0
    while at < end and size:
        comma = data.find(b",", at + SLICE, end)
        stop = end if comma < 0 else comma
        elements = _slice(header, data[at:stop], filled, nested)
        if filled + len(elements) > size:
            break
        array[filled : filled + len(elements)] = _array(header, elements, dtype, filled)
        filled, at = filled + len(elements), stop + 1
    if filled != size:
        raise InvalidRequest(_not_filled(header, filled))
    return array.reshape(header.shape)


def _slice(header: Header, text: bytes, first: int, nested: bool) -> list[Any]:
    """Decode numbers that stand between commas, as elements from number ``first`` on."""
    try:
        return _decode_flat(header.datatype, b"[%b]" % text)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        index = first + int(re.findall(r"\d+", place)[0])
        reason = f"{problem} - at `$[{index}]`"
        raise InvalidRequest(_wrong_element(header, None, reason, nested)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if nested:
            raise InvalidRequest(_not_nested(header)) from None
        raise InvalidRequest(
            f"input {header.name!r} is {header.datatype}: there is something else than numbers "
            f"from element {first} of its data on"
        ) from None


def check_texts(name: str, data: bytes, limits: RequestLimits) -> None:
    """Raise TooLarge where long data would be more texts, and lists of texts, than fit the limits.

    Whatever the shape says, all are decoded. Quotes and brackets inside of texts count, too.
    """
    if len(data) <= LARGE:
        return
    most, found = limits.max_decoded // ELEMENT, data.count(b'"') // 2 + data.count(b"[")
    if found > most:
        raise TooLarge(
            f"input {name!r}: its data has {found} texts and lists, over the limit of {most}; "
            "send flat data, or binary data"
        )


def _check_filled(header: Header, data: bytes, size: int) -> None:
    """Count the elements by their commas, before they are decoded."""
    commas = data.count(b",")
    if size and commas + 1 == size:
        return
    found = commas + 1 if data.translate(None, _NO_ELEMENTS) else 0
    if found != size:
        raise InvalidRequest(_not_filled(header, found))


def _not_filled(header: Header, found: int) -> str:
    return (
        f"input {header.name!r} of shape {header.shape} needs {prod(header.shape)} elements, "
        f"its data holds {found}"
    )


def _decode(header: Header, data: bytes) -> list[Any]:
    try:
        return _decode_flat(header.datatype, data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_wrong_element(header, data, str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"data of input {header.name!r} is not JSON: {error}") from None


def _decode_flat(datatype: str, data: bytes) -> list[Any]:
    """Decode a flat list. JSON has one type of number: 1.0 is an integer, as in JSON Schema.

    (Validation 2020-12, 6.1.1.) Clients whose models hold all numbers as floats write them so.
    """
    try:
        return _FLAT[datatype].decode(data)
    except msgspec.ValidationError as error:
        if datatype not in _OR_FLOATS or "got `float`" not in str(error):
            raise
    elements = _OR_FLOATS[datatype].decode(data)
    bounds = np.iinfo(datatype.lower())
    low, high = max(bounds.min, -_EXACT_AS_FLOAT), min(bounds.max, _EXACT_AS_FLOAT)
    for index, element in enumerate(elements):
        if isinstance(element, float):
            if not element.is_integer():
                raise msgspec.ValidationError(f"Expected `int`, got `float` - at `$[{index}]`")
            if not low <= element <= high:
                raise msgspec.ValidationError(
                    f"Expected `int` of {low} to {high} where it is written as a float "
                    f"- at `$[{index}]`"
                )
            elements[index] = int(element)
    return elements


def _nested_numbers(header: Header, data: bytes, size: int) -> list[Any]:
    """Return the elements of nested lists in row-major order."""
    _check_nested(header, data)
    if size == 0:
        return []
    flat = b"[" + data.translate(None, b"[]") + b"]"
    try:
        return _decode_flat(header.datatype, flat)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_wrong_element(header, flat, str(error), nested=True)) from None
    except msgspec.DecodeError:
        # One list is empty where another has one element too many.
        raise InvalidRequest(_not_nested(header)) from None


def _check_nested(header: Header, data: bytes) -> None:
    found = data.translate(None, _NOT_STRUCTURE)
    if found != _structure(header.shape, len(found)):
        raise InvalidRequest(_not_nested(header))


def _structure(shape: list[int], most: int) -> bytes | None:
    """Return the brackets and commas of lists nested as ``shape``; None if over ``most`` bytes.

    Below a dimension of 0 there is nothing to be seen of the others.
    """
    visible = shape[: shape.index(0) + 1] if 0 in shape else shape
    text = b""
    for size in reversed(visible):
        if size * (len(text) + 1) > most:
            return None
        text = b"[" + ((text + b",") * size)[:-1] + b"]"
    return text


def decode_nested(header: Header, data: bytes, kind: Any = str) -> list[Any]:
    """Return the elements of lists, nested as the header says, in row-major order.

    They are of a ``kind`` that has a type of its own in JSON, such as texts, which may hold
    brackets and commas. Raise InvalidRequest.
    """
    try:
        level = _decoder(kind, len(header.shape)).decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_wrong_element(header, data, str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"data of input {header.name!r} is not JSON: {error}") from None
    rows, *inner = header.shape
    fits = len(level) == rows
    for size in inner:
        fits = fits and set(map(len, level)) <= {size}
        level = list(chain.from_iterable(level))
    if not fits:
        raise InvalidRequest(_not_nested(header))
    return level


def _not_nested(header: Header) -> str:
    return f"data of input {header.name!r} is not nested as its shape {header.shape} says"


def _wrong_element(header: Header, data: bytes | None, reason: str, nested: bool = False) -> str:
    """Name the element that is not of the datatype, and its value if finding it is cheap.

    ``nested`` tells that ``data`` was nested as the shape says before it was made flat.
    """
    problem, _, place = reason.partition(" - at `$")
    path = [int(index) for index in re.findall(r"\[(\d+)\]", place)]
    shown_path = np.unravel_index(path[0], header.shape) if nested and path else path
    where = "".join(f"[{index}]" for index in shown_path)
    text = f"input {header.name!r} is {header.datatype}: {problem} at data{where}"
    if data is None or len(data) >= _SHOW_VALUES_BELOW:
        return text
    try:
        value: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return text
    for index in path:
        value = value[index]
    return f"{text}, which is {shown(value)}"


def _over_64_bits(header: Header, elements: list[int], first: int) -> str:
    index = next(index for index, value in enumerate(elements) if value >= 2**64)
    return (
        f"input {header.name!r} is {header.datatype}: element {first + index}, "
        f"which is {shown(elements[index])}, is out of range"
    )
