"""Values of inputs in JSON without a shape: scalars and nested lists, whose shape is how they nest.

Dimensions of 1 are put before a value where its input has more.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.core import Array, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.json_elements import check_texts, decode_elements
from anabranch.router.oip.tensor_header import Header

_OPENING = re.compile(rb"[\[ \t\r\n]*").match
_STRUCTURE = b"[],"
_NO_ELEMENTS = b"[], \t\r\n"
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))


class JsonValue(NamedTuple):
    """The value of an input as the tensor that it stands for, its elements not decoded yet."""

    header: Header
    data: bytes
    is_scalar: bool
    """Whether the tensor has no dimensions, although ``header`` gives it one."""

    def array(self, limits: RequestLimits) -> Array:
        """Return the tensor; InvalidRequest where an element is not of its datatype."""
        array = decode_elements(self.header, self.data, limits)
        return array.reshape(()) if self.is_scalar else array


def read_value(tensor: TensorMetadata, raw: bytes, limits: RequestLimits) -> JsonValue:
    """Read a scalar or nested lists as the value of an input, by whose rank dimensions are added.

    Raises InvalidRequest or TooLarge.
    """
    opening = _OPENING(raw)
    depth = opening.group().count(b"[") if opening else 0
    if depth > limits.max_rank:
        raise InvalidRequest(f"input {tensor.name!r} is nested too deeply")
    text = tensor.datatype == "BYTES"
    if text:
        check_texts(tensor.name, raw, limits)
    shape = _shape_of_texts(tensor.name, raw, depth) if text else _shape_of_numbers(raw, depth)
    lacking = len(tensor.shape) - depth if depth else max(1, len(tensor.shape))
    if lacking > 0:
        raw = b"[" * lacking + raw + b"]" * lacking
        shape = [1] * lacking + shape
    is_scalar = not depth and not tensor.shape
    return JsonValue(Header(tensor.name, tensor.datatype, shape), raw, is_scalar)


def _shape_of_texts(name: str, raw: bytes, depth: int) -> list[int]:
    kind: Any = str
    for _ in range(depth):
        kind = list[kind]
    value = parsed(msgspec.json.Decoder(kind).decode, raw, f"input {name!r}")
    shape = []
    for _ in range(depth):
        shape.append(len(value))
        value = value[0] if value else []
    return shape


def _shape_of_numbers(raw: bytes, depth: int) -> list[int]:
    """The sizes of lists that are nested regularly, by the brackets and commas of the first ones.

    Irregular ones give a shape that their data does not fit.
    """
    structure = raw.translate(None, _NOT_STRUCTURE)
    counts = [
        structure.count(b",", 0, max(structure.find(b"]" * closing), 0)) + 1
        for closing in range(1, depth + 1)
    ]
    sizes = [count // before for before, count in pairwise([1, *counts])]
    if sizes and not raw.translate(None, _NO_ELEMENTS):
        sizes[0] = 0
    return sizes[::-1]
