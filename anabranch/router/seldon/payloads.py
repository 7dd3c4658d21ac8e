"""Payloads of a SeldonMessage as inputs of a graph.

Which payload fits which inputs:

| payload | a graph with one input | a graph with several inputs |
|---|---|---|
| ``data.ndarray``, ``data.tensor`` | the tensor, in the input's datatype | refused |
| ``strData``, ``binData`` | one element, if the input is BYTES | refused |
| ``jsonData`` | its text, if the input is BYTES, else an object by input | an object by input |

Numbers become the input's datatype only where nothing is lost: integers are whole and in range, and
floats are rounded to the nearest of their type, never to infinity. A ``tensor`` may fill a BOOL
input with zeros and ones, as it can hold nothing but doubles. Dimensions of 1 are put before a
value where its input has more. ``tftensor`` and ``customData`` are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np

from anabranch.components.tensors.arrays import to_bf16
from anabranch.components.tensors.datatypes import BF16, kind_of, to_dtype
from anabranch.components.tensors.texts import decoded, filled
from anabranch.components.tensors.unwarned import unwarned
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array, TensorMetadata
from anabranch.router.limits import ELEMENT, RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.json_elements import decode_elements
from anabranch.router.oip.plain_inputs import read_value, to_arrays
from anabranch.router.oip.tensor_header import size_of
from anabranch.specs.excerpts import hint, listing, shown

PayloadKind: TypeAlias = Literal["ndarray", "tensor", "strData", "binData", "jsonData"]
"""The field of a SeldonMessage, or of its ``data``, that holds the payload."""

_EXACT = 2**53
"""Integers up to here, either side of zero, are all numbers of double precision."""
_NOT_FINITE: Mapping[float | str, float] = {
    "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf
}  # fmt: skip
_decode_doubles = msgspec.json.Decoder(list[float | Literal["NaN", "Infinity", "-Infinity"]]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Payload(Protocol):
    """The payload of a message, as its transport has it."""

    @property
    def kind(self) -> PayloadKind:
        """The field that holds the payload."""

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the payload as the input; InvalidRequest or TooLarge where it does not fit."""


class NestedLists(NamedTuple):
    """``data.ndarray``: nested lists as JSON."""

    text: bytes
    kind: PayloadKind = "ndarray"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the lists as the input."""
        if not self.text.startswith(b"["):
            raise InvalidRequest("`data.ndarray` is no list")
        return read_value(tensor, self.text, limits).array(limits)


class JsonTensor(NamedTuple):
    """``data.tensor`` in JSON: a flat list of numbers, of which some may be texts (``"NaN"``)."""

    shape: list[int]
    text: bytes
    kind: PayloadKind = "tensor"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the numbers as the input."""
        _refuse_texts(tensor)
        if b'"' in self.text:
            return Doubles(self.shape, _doubles(self.text, limits)).array(tensor, limits)
        is_bool = tensor.datatype == "BOOL"
        datatype = "FP64" if is_bool else tensor.datatype
        header = Header(tensor.name, datatype, _ranked(self.shape, tensor))
        found = decode_elements(header, self.text, limits)
        return _as_bool(tensor, found) if is_bool else found


class Doubles(NamedTuple):
    """``data.tensor`` in Protocol Buffers: numbers of double precision, flat."""

    shape: list[int]
    values: Array
    kind: PayloadKind = "tensor"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the numbers as the input."""
        _refuse_texts(tensor)
        if min(self.shape, default=0) < 0:
            raise InvalidRequest(f"`data.tensor` has a size below 0 in its shape {self.shape[:16]}")
        header = Header(tensor.name, tensor.datatype, _ranked(self.shape, tensor))
        size = size_of(header, limits)
        if size != len(self.values):
            raise InvalidRequest(
                f"input {tensor.name!r} of shape {header.shape} needs {size} values, "
                f"`data.tensor` holds {len(self.values)}"
            )
        return _cast(tensor, self.values).reshape(header.shape)


class Text(NamedTuple):
    """``strData``."""

    text: str
    kind: PayloadKind = "strData"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the text as the only element of the input."""
        return _single(tensor, self.text, self.kind)


class Binary(NamedTuple):
    """``binData``."""

    data: bytes
    kind: PayloadKind = "binData"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the bytes as the only element of the input."""
        return _single(tensor, decoded([self.data])[0], self.kind)


class JsonDocument(NamedTuple):
    """``jsonData``: any JSON."""

    text: bytes
    kind: PayloadKind = "jsonData"

    def array(self, tensor: TensorMetadata, limits: RequestLimits) -> Array:
        """Return the text of the document as the only element of the input."""
        return _single(tensor, self.text.decode(), self.kind)


def inputs_of(
    payload: Payload, tensors: Sequence[TensorMetadata], limits: RequestLimits
) -> Mapping[str, Array]:
    """Return a payload as the inputs of a graph that takes ``tensors``, by name.

    Raises InvalidRequest and TooLarge.
    """
    only = tensors[0] if len(tensors) == 1 else None
    if isinstance(payload, JsonDocument) and (only is None or only.datatype != "BYTES"):
        return _of_object(payload, tensors, limits)
    if only is None:
        raise InvalidRequest(
            f"`{payload.kind}` holds one value, and the graph takes {_described(tensors)}; send "
            "`jsonData`, an object of values by input"
        )
    return {only.name: payload.array(only, limits)}


def _of_object(
    document: JsonDocument, tensors: Sequence[TensorMetadata], limits: RequestLimits
) -> Mapping[str, Array]:
    takes = f"the graph takes `jsonData` as an object of {_described(tensors)}"
    fields = parsed(_decode_object, document.text, "`jsonData`", takes)
    known = {tensor.name: tensor for tensor in tensors}
    for name in fields.keys() - known.keys():
        raise InvalidRequest(f"there is no input {name[:64]!r}{hint(name[:64], known)}; {takes}")
    values = {n: read_value(known[n], bytes(raw), limits) for n, raw in fields.items()}
    return to_arrays(values, limits)


def _described(tensors: Sequence[TensorMetadata]) -> str:
    return listing(f"{one.name} {one.datatype}{list(one.shape)}" for one in tensors)


def _single(tensor: TensorMetadata, element: str | bytes, kind: PayloadKind) -> Array:
    described = f"`{kind}` is one element, and input {_described([tensor])}"
    if tensor.datatype != "BYTES":
        raise InvalidRequest(
            f"{described} holds numbers; send `data.ndarray`, `data.tensor`, or `jsonData` with "
            f"the field `{tensor.name}`"
        )
    if any(size not in (-1, 1) for size in tensor.shape):
        raise InvalidRequest(f"{described} holds more; send `data.ndarray`")
    return filled([element], (1,) * len(tensor.shape))


def _doubles(text: bytes, limits: RequestLimits) -> Array:
    """Return numbers of double precision, of which NaN and the infinities are texts."""
    most = limits.max_decoded // ELEMENT
    if text.count(b",") >= most:
        raise TooLarge(f"`data.tensor` has more than {most} values, and texts among them")
    wrong = "`data.tensor` holds numbers, and `NaN`, `Infinity` or `-Infinity` as texts"
    values = parsed(_decode_doubles, text, "`data.tensor`", wrong)
    return np.array([_NOT_FINITE.get(one, one) for one in values], np.float64)


def _refuse_texts(tensor: TensorMetadata) -> None:
    if tensor.datatype == "BYTES":
        raise InvalidRequest(
            f"`data.tensor` holds numbers, and input {_described([tensor])} is text; send "
            "`data.ndarray`, `strData`, `binData` or `jsonData`"
        )


def _ranked(shape: list[int], tensor: TensorMetadata) -> list[int]:
    return [1] * (len(tensor.shape) - len(shape)) + shape


def _cast(tensor: TensorMetadata, values: Array) -> Array:
    """Return doubles in the datatype of an input; InvalidRequest names one that does not fit."""
    dtype = to_dtype(tensor.datatype)
    kind = kind_of(dtype)
    if kind == "b":
        return _as_bool(tensor, values)
    if kind == "f":
        with unwarned():
            found = to_bf16(values) if dtype == BF16 else values.astype(dtype)
            lost = np.isinf(found.astype(np.float64)) & np.isfinite(values)
        _refuse(tensor, values, lost, "is out of range")
        return found
    bounds = np.iinfo(dtype)
    low, high = max(bounds.min, -_EXACT), min(bounds.max, _EXACT)
    _refuse(tensor, values, values != np.floor(values), "is not a whole number")
    _refuse(tensor, values, (values < low) | (values > high), f"is not from {low} to {high}")
    return values.astype(dtype)


def _as_bool(tensor: TensorMetadata, values: Array) -> Array:
    _refuse(tensor, values, (values != 0) & (values != 1), "is neither 0 nor 1")
    return values.astype(np.bool_)


def _refuse(tensor: TensorMetadata, values: Array, wrong: Array, reason: str) -> None:
    if wrong.any():
        index = int(np.argmax(wrong.ravel()))
        value = values.ravel()[index].item()
        raise InvalidRequest(
            f"input {tensor.name!r} is {tensor.datatype}: element {index}, which is "
            f"{shown(value)}, {reason}"
        )
