"""Requests to and answers of an Open Inference Protocol server, as bytes.

With the binary tensor extension (Triton's ``docs/protocol/extension_binary_data.md``) the JSON is
followed by the raw bytes of all tensors, in their order: little-endian, row-major, and each BYTES
element behind its length of four bytes. Without it every tensor stands in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from struct import Struct
from typing import Any

import numpy as np
import orjson

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_datatype, to_dtype
from anabranch.components.tensors.texts import decoded, filled
from anabranch.specs.excerpts import shown

LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH = Struct("<I")


class BadAnswer(Exception):
    """The answer of a server breaks the protocol."""


@dataclass(frozen=True)
class Request:
    """The parts of a request that come before its tensors."""

    id: str
    parameters: Mapping[str, Any]
    outputs: tuple[str, ...] = ()
    """The outputs that are asked for; none means all."""


def encode(request: Request, inputs: Mapping[str, Array], binary: bool) -> tuple[bytes, int | None]:
    """Return a request's body, and the length of its JSON if tensors follow.

    Without the extension, a ValueError for numbers that JSON does not have and BYTES that are no
    text.
    """
    raw = [_raw(array) for array in inputs.values()] if binary else []
    tensors = [_described(name, array) for name, array in inputs.items()]
    for tensor, array, data in zip_longest(tensors, inputs.values(), raw):
        if binary:
            tensor["parameters"] = {"binary_data_size": len(data)}
        else:
            tensor["data"] = _listed(array, tensor["name"])
    header = orjson.dumps(_body(request, tensors, binary), option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([header, *raw]), len(header) if binary else None


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": to_datatype(array.dtype), "shape": array.shape}


def _body(request: Request, tensors: list[dict[str, Any]], binary: bool) -> dict[str, Any]:
    extension = {"binary_data_output": True} if binary else {}
    body: dict[str, Any] = {
        "inputs": tensors,
        "parameters": {**request.parameters, **extension},
    }
    if request.id:
        body["id"] = request.id
    if request.outputs:
        body["outputs"] = [{"name": name} for name in request.outputs]
    return body


def _raw(array: Array) -> bytes:
    if array.dtype.kind in "OUS":
        return b"".join(_prefixed(array.flat))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _prefixed(elements: Iterable[Any]) -> Iterable[bytes]:
    for element in elements:
        data = element if isinstance(element, bytes) else str(element).encode()
        yield _LENGTH.pack(len(data))
        yield data


def _listed(array: Array, name: str) -> Any:
    if array.dtype.kind in "OUS":
        return [one.decode() if isinstance(one, bytes) else str(one) for one in array.flat]
    if array.dtype.kind not in "iub" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} holds NaN or infinity, which JSON cannot carry")
    narrow = array.dtype.kind == "V" or array.dtype == np.float16
    return np.ascontiguousarray(array, np.float32 if narrow else None).reshape(-1)


def decode(body: bytes, header_length: str | None) -> dict[str, Array]:
    """Return the outputs of an answer, as ``read`` does."""
    return read(body, header_length)[1]


def read(body: bytes, header_length: str | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the JSON of an answer, and its outputs; BadAnswer says what is wrong with it.

    BYTES are ``str``, or in a binary tensor with an element that is no UTF-8 ``bytes``.

    A null among numbers is NaN, as which servers write what JSON does not have.
    """
    try:
        length = len(body) if header_length is None else int(header_length)
        answer = orjson.loads(memoryview(body)[: max(0, length)])
        return answer, _tensors(answer["outputs"], memoryview(body)[max(0, length) :])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadAnswer(f"its answer is malformed: {type(error).__name__}: {error}") from None


def _tensors(outputs: list[dict[str, Any]], raw: memoryview) -> dict[str, Array]:
    found, at = {}, 0
    for tensor in outputs:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = _from_list(tensor)
        else:
            array, at = _from_raw(tensor, raw[at : at + size]), at + size
        found[tensor["name"]] = array
    if at != len(raw):
        raise ValueError(f"its outputs have {at} raw bytes, but there are {len(raw)}")
    return found


def _from_list(tensor: dict[str, Any]) -> Array:
    shape = tuple(tensor["shape"])
    if tensor["datatype"] == "BYTES":
        return filled(_flattened(tensor["data"]), shape)
    with np.errstate(over="ignore"):  # a number beyond FP16 or FP32 is infinity there
        return np.array(tensor["data"], to_dtype(tensor["datatype"])).reshape(shape)


def _flattened(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    if not any(isinstance(one, list) for one in data):
        return data
    return [element for one in data for element in _flattened(one)]


def _from_raw(tensor: dict[str, Any], raw: memoryview) -> Array:
    shape = tuple(tensor["shape"])
    if tensor["datatype"] == "BYTES":
        return filled(decoded(list(_elements(raw))), shape)
    dtype = to_dtype(tensor["datatype"])
    if len(raw) != prod(shape) * dtype.itemsize:
        raise ValueError(
            f"output {shown(tensor['name'])} of shape {list(shape)} has {len(raw)} raw bytes"
        )
    # A copy: components may write to it, and it must not keep the whole answer in memory.
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _elements(raw: memoryview) -> Iterable[bytes]:
    at = 0
    while at < len(raw):
        end = at + _LENGTH.size + int.from_bytes(raw[at : at + _LENGTH.size], "little")
        if end > len(raw):
            raise ValueError("a BYTES element is longer than its tensor")
        yield bytes(raw[at + _LENGTH.size : end])
        at = end
