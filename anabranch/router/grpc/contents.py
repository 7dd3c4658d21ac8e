"""Typed contents: the elements of a tensor in the field of a message that its datatype says."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from anabranch.components.tensors.texts import decoded, filled
from anabranch.errors import InvalidRequest
from anabranch.router.grpc import wire
from anabranch.router.grpc.messages import Message
from anabranch.router.inference.contract import Array, OutputTensor
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.raw_tensors import as_bytes, encode_raw
from anabranch.router.oip.tensor_header import dtype_of, size_of
from anabranch.specs.excerpts import shown

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field for each datatype; FP16 and BF16 have none."""
_NARROW = {"INT8", "INT16", "UINT8", "UINT16"}
"""Datatypes that share the field of a wider one."""
_FLOATS = {"FP32", "FP64"}
"""Datatypes that are on the wire as they are in memory, and are copied so: element by element they
would take many times as long, and some NaNs would lose their bits.
"""


def decode_contents(header: Header, contents: Message, limits: RequestLimits) -> Array:
    """Return typed contents as an array of the datatype and shape that the header says.

    Raises TooLarge for a shape over the limits, and InvalidRequest where the elements are in
    another field, of another number, or out of the datatype's range.
    """
    dtype = dtype_of(header)
    size = size_of(header, limits)
    elements = _elements(header, contents)
    if len(elements) != size:
        raise InvalidRequest(
            f"input {header.name!r} of shape {header.shape} needs {prod(header.shape)} elements, "
            f"its {FIELDS[header.datatype]} hold {len(elements)}"
        )
    return _array(header, contents, elements, dtype).reshape(header.shape)


def _elements(header: Header, contents: Message) -> Any:
    wanted = FIELDS.get(header.datatype)
    if wanted is None:
        raise InvalidRequest(
            f"input {header.name!r} is {header.datatype}, which has no typed contents; "
            "send raw_input_contents"
        )
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise InvalidRequest(
                f"input {header.name!r} is {header.datatype}, so its elements belong in {wanted}, "
                f"not in {field.name}"
            )
    return getattr(contents, wanted)


def _array(header: Header, contents: Message, elements: Any, dtype: np.dtype[Any]) -> Array:
    if header.datatype in _NARROW:
        return _narrow(header, elements, dtype)
    if header.datatype in _FLOATS:
        return _floats(header.datatype, contents, dtype)
    if header.datatype == "BYTES":
        return filled(decoded(list(elements)), (len(elements),))
    array: Array = np.empty(len(elements), dtype)
    array[:] = list(elements)
    return array


def _narrow(header: Header, elements: Iterable[int], dtype: np.dtype[Any]) -> Array:
    wide: Array = np.fromiter(elements, np.int64)
    bounds = np.iinfo(dtype)
    wrong = (wide < bounds.min) | (wide > bounds.max)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InvalidRequest(
            f"input {header.name!r} is {header.datatype}: element {index}, which is "
            f"{shown(int(wide[index]))}, is not from {bounds.min} to {bounds.max}"
        )
    return wide.astype(dtype)


def _floats(datatype: str, contents: Message, dtype: np.dtype[Any]) -> Array:
    data: bytes = contents.SerializeToString()
    view, number = memoryview(data), _number(datatype, contents)
    # Beside it there may be fields that the protocol does not know.
    packed = [view[one.value : one.end] for one in wire.fields(data) if one.number == number]
    return np.concatenate([np.empty(0, dtype), *(np.frombuffer(one, dtype) for one in packed)])


def _number(datatype: str, contents: Message) -> int:
    number: int = contents.DESCRIPTOR.fields_by_name[FIELDS[datatype]].number
    return number


def encode_contents(output: OutputTensor, contents: Message) -> None:
    """Fill typed contents with the elements of an output whose datatype has a field.

    UnencodableOutput where an element of BYTES is neither text nor bytes.
    """
    if output.datatype in _FLOATS:
        data = encode_raw(output.array, output.datatype)
        contents.MergeFromString(wire.head(_number(output.datatype, contents), len(data)) + data)
        return
    elements = output.array.ravel().tolist()
    if output.datatype == "BYTES":
        elements = [as_bytes(index, element) for index, element in enumerate(elements)]
    getattr(contents, FIELDS[output.datatype]).extend(elements)
