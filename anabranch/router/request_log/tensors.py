"""Tensors in JSON that gives back every bit of them.

As the Open Inference Protocol has them: ``{"name", "datatype", "shape", "data"}``, flat in
row-major order. ``encoding`` says where ``data`` is something else than the elements as they came:

| encoding | data |
|---|---|
| | numbers, booleans, or texts |
| ``base64`` | one string: the raw form of the tensor (see ``router.raw``) in base64 |

Base64 carries what JSON cannot: NaN and the infinities, and bytes that are no text. A tensor
without data says why: ``"redacted": true`` or ``"omitted": true``.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
import numpy as np

from anabranch.components.tensors.datatypes import kind_of
from anabranch.components.tensors.texts import as_text
from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import Array
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.json_elements import decode_elements
from anabranch.router.oip.raw_tensors import decode_raw, raw_buffer
from anabranch.router.request_log.entries import KeptTensor

BASE64 = "base64"
# The shortest text that names this number among those of 32 bits names, read with 64 bits and then
# rounded to 32, its neighbour. It is the only one: all were tried.
_AMBIGUOUS = np.float32(7.038531e-26)
_LIMITS = RequestLimits(max_elements=2**31, max_decoded=2**40)
"""For logs, whose tensors are bounded when they are written."""


class LoggedTensor(msgspec.Struct):
    """A tensor as a log has it."""

    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    encoding: str | None = None
    redacted: bool = False
    omitted: bool = False

    @property
    def is_hidden(self) -> bool:
        """Whether its data was not logged."""
        return self.redacted or self.omitted


def encode_tensor(tensor: KeptTensor) -> dict[str, Any]:
    """A tensor as data for orjson, which takes NumPy's arrays."""
    found: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
    }
    if tensor.array is None:
        return {**found, str(tensor.hidden): True}
    if tensor.datatype == "BYTES":
        return found | _texts(tensor.array)
    flat = np.ascontiguousarray(tensor.array.reshape(-1))
    return found | (_numbers(flat) if _is_exact(flat) else _raw(flat, tensor.datatype))


def _is_exact(flat: Array) -> bool:
    """Return whether the numbers come back from JSON as they are."""
    if kind_of(flat.dtype) != "f":
        return True
    if flat.itemsize == 4 and bool((np.abs(flat) == _AMBIGUOUS).any()):
        return False
    with np.errstate(invalid="ignore"):  # some bits that are no number
        return bool(np.isfinite(flat).all())


def _numbers(flat: Array) -> dict[str, Any]:
    if flat.dtype.kind == "V":  # BF16, which orjson does not know
        return {"data": flat.astype(np.float32)}
    return {"data": flat if flat.dtype.isnative else flat.astype(flat.dtype.newbyteorder("="))}


def _texts(array: Array) -> dict[str, Any]:
    try:
        return {"data": as_text(array).ravel().tolist()}
    except ValueError:
        return _raw(array, "BYTES")


def _raw(array: Array, datatype: str) -> dict[str, Any]:
    text = base64.b64encode(raw_buffer(array, datatype)).decode("ascii")
    return {"data": text, "encoding": BASE64}


def decode_tensor(tensor: LoggedTensor) -> Array:
    """The array that was logged; InvalidRequest where it is hidden or cannot be read."""
    if isinstance(tensor.data, msgspec.UnsetType):
        raise InvalidRequest(f"tensor {tensor.name!r} has no data")
    header = Header(tensor.name, tensor.datatype, tensor.shape)
    if min(tensor.shape, default=0) < 0:
        raise InvalidRequest(f"tensor {tensor.name!r} has a size below 0")
    if tensor.encoding == BASE64:
        return decode_raw(header, _bytes(tensor.name, tensor.data), _LIMITS)
    return decode_elements(header, bytes(tensor.data), _LIMITS)


def _bytes(name: str, data: msgspec.Raw) -> bytes:
    try:
        return base64.b64decode(msgspec.json.decode(data, type=str), validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise InvalidRequest(f"tensor {name!r} is not base64: {error}") from None
