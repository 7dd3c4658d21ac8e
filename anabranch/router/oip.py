"""Open Inference Protocol v2 in JSON: bytes to requests, responses to bytes.

Decoding goes in two steps. The first reads the envelope and leaves each tensor's ``data`` as the
bytes it came in, so that limits and shapes are checked before elements take memory; the second
reads the elements as the one type that the datatype allows, at the one depth that the shape allows.

Where the protocol leaves a choice:

- Fields that it does not name are ignored, as extensions add some; parameters are strings, numbers
  and booleans. ``null`` stands for an optional field left out, and ``"outputs": []`` for all.
- Types are strict: ``true`` is no number, ``1.0`` no integer, ``"1"`` only a string. Numbers that
  are out of the datatype's range are refused, never wrapped or turned into infinity.
- Data is flat, or nested exactly as the shape says.
- NaN and the infinities have no JSON: in a response they are ``null``, in a request refused.
- BYTES are JSON strings, so text in UTF-8. An output of other bytes is an error.
- The binary tensor extension and BF16 are refused with an error that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from types import GenericAlias
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import orjson
from msgspec import Meta

from anabranch.components.datatypes import DTYPES, to_dtype
from anabranch.components.hints import shown
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.core import (
    Array,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.errors import UnencodableOutput
from anabranch.router.limits import Limits

Parameters: TypeAlias = dict[str, bool | int | float | str]

_NO_BINARY = "binary tensors are not supported yet; send and ask for JSON data"
_BINARY_PARAMETERS = ("binary_data", "binary_data_output", "binary_data_size")
_BRACKETS = b"[] \t\r\n"
_IS_NESTED = re.compile(rb"\[[ \t\r\n]*\[").match
_SHOW_VALUES_BELOW = 2**16
"""Data longer than this, in bytes, is not decoded a second time to show the wrong value."""


_Name: TypeAlias = Annotated[str, Meta(max_length=256)]


class _Input(msgspec.Struct, gc=False):
    name: _Name
    datatype: Annotated[str, Meta(max_length=16)]
    shape: list[Annotated[int, Meta(ge=0)]]
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | None = None


class _Output(msgspec.Struct, gc=False):
    name: _Name
    parameters: Parameters | None = None


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Input]
    id: Annotated[str, Meta(max_length=1024)] | None = None
    parameters: Parameters | None = None
    outputs: list[_Output] | None = None


_decode_envelope = msgspec.json.Decoder(_Request).decode

# Half-way between the largest finite number and what would be next: from there on, rounding to the
# nearest gives infinity.
_FP16_BOUND, _FP32_BOUND = 65520.0, 3.4028235677973366e38


def _integer(bits: int, signed: bool) -> Any:
    """Return the type of integers of a width; 64 bits are left to NumPy, which checks them too."""
    low = -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    return int if bits == 64 else Annotated[int, Meta(ge=low, le=high)]


_ELEMENTS: dict[str, Any] = {
    "BOOL": bool,
    **{f"UINT{bits}": _integer(bits, signed=False) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _integer(bits, signed=True) for bits in (8, 16, 32, 64)},
    "FP16": Annotated[float, Meta(gt=-_FP16_BOUND, lt=_FP16_BOUND)],
    "FP32": Annotated[float, Meta(gt=-_FP32_BOUND, lt=_FP32_BOUND)],
    "FP64": float,
    "BYTES": str,
}
"""What JSON elements of a datatype must be."""


def decode_request(body: bytes, limits: Limits) -> InferenceRequest:
    """Decode the body of an inference request. Raises InvalidRequest or TooLarge."""
    envelope = _envelope(body)
    _refuse_binary(envelope.parameters, "the request")
    _check_count(len(envelope.inputs), "inputs", limits)
    inputs: dict[str, Array] = {}
    for tensor in envelope.inputs:
        if tensor.name in inputs:
            raise InvalidRequest(f"input {tensor.name!r} is there twice")
        inputs[tensor.name] = _decode_tensor(tensor, limits)
    outputs = _decode_outputs(envelope.outputs, limits) if envelope.outputs else ()
    return InferenceRequest(inputs, outputs, envelope.id, envelope.parameters or {})


def _envelope(body: bytes) -> _Request:
    try:
        return _decode_envelope(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not an inference request: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRequest(f"the body is not JSON: {problem}") from None


def _check_count(count: int, what: str, limits: Limits) -> None:
    if count > limits.max_tensors:
        raise TooLarge(f"{count} {what} are over the limit of {limits.max_tensors}")


def _refuse_binary(parameters: Parameters | None, what: str) -> None:
    if parameters and any(parameters.get(name) for name in _BINARY_PARAMETERS):
        raise InvalidRequest(f"{what} asks for binary data: {_NO_BINARY}")


def _decode_outputs(outputs: list[_Output], limits: Limits) -> tuple[str, ...]:
    _check_count(len(outputs), "outputs", limits)
    for output in outputs:
        _refuse_binary(output.parameters, f"output {output.name!r}")
    return tuple(dict.fromkeys(output.name for output in outputs))


def _decode_tensor(tensor: _Input, limits: Limits) -> Array:
    """Return the tensor as an array of its datatype and shape."""
    _refuse_binary(tensor.parameters, f"input {tensor.name!r}")
    if isinstance(tensor.data, msgspec.UnsetType):
        raise InvalidRequest(f"input {tensor.name!r} has no data")
    dtype = _dtype(tensor)
    size = _size(tensor, limits)
    data = bytes(tensor.data)
    _check_size(tensor, data, size, limits)
    nested = len(tensor.shape) > 1 and _IS_NESTED(data) is not None
    elements = _decode_data(tensor, data, len(tensor.shape) if nested else 1)
    try:
        array = np.array(elements, dtype=dtype)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(_not_an_array(tensor, error)) from None
    return _shaped(tensor, array, nested)


def _dtype(tensor: _Input) -> np.dtype[Any]:
    try:
        return to_dtype(tensor.datatype)
    except ValueError as error:
        upper = tensor.datatype.upper()
        meant = f"; did you mean {upper!r}?" if upper in DTYPES else ""
        raise InvalidRequest(f"input {tensor.name!r}: {error}{meant}") from None


def _size(tensor: _Input, limits: Limits) -> int:
    """Return the number of elements that the shape stands for, checked against the limits."""
    shape = tensor.shape
    if len(shape) > limits.max_rank:
        raise TooLarge(
            f"input {tensor.name!r} has {len(shape)} dimensions, "
            f"over the limit of {limits.max_rank}"
        )
    size = prod(shape)
    largest = max(size, *shape) if shape else size
    if largest > limits.max_elements:
        raise TooLarge(
            f"input {tensor.name!r} of shape {shown(shape)} is over the limit of "
            f"{limits.max_elements} elements"
        )
    return size


def _check_size(tensor: _Input, data: bytes, size: int, limits: Limits) -> None:
    """Count elements by their commas before they are decoded; strings may hold commas too."""
    count = data.count(b",") + 1
    if tensor.datatype == "BYTES" or count == size:
        return
    if size == 0 and count <= limits.max_elements:
        return
    raise InvalidRequest(_not_filled(tensor, count if data.strip(_BRACKETS) else 0))


def _not_filled(tensor: _Input, count: int) -> str:
    return (
        f"input {tensor.name!r} of shape {tensor.shape} needs {prod(tensor.shape)} elements, "
        f"its data holds {count}"
    )


@lru_cache(maxsize=len(_ELEMENTS) * 32)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[list[Any]]:
    """Return the decoder of lists of a datatype, ``depth`` deep."""
    kind: Any = _ELEMENTS[datatype]
    for _ in range(depth):
        kind = GenericAlias(list, (kind,))
    return msgspec.json.Decoder(kind)


def _decode_data(tensor: _Input, data: bytes, depth: int) -> list[Any]:
    try:
        return _decoder(tensor.datatype, depth).decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_wrong_element(tensor, data, str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"data of input {tensor.name!r} is not JSON: {error}") from None


def _wrong_element(tensor: _Input, data: bytes, reason: str) -> str:
    """Name the element that is not of the datatype, and its value if finding it is cheap."""
    problem, _, path = reason.partition(" - at `$")
    path = path.rstrip("`")
    text = f"input {tensor.name!r} is {tensor.datatype}: {problem} at data{path}"
    if len(data) >= _SHOW_VALUES_BELOW:
        return text
    try:
        value: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return text
    for index in re.findall(r"\d+", path):
        value = value[int(index)]
    return f"{text}, which is {shown(value)}"


def _not_an_array(tensor: _Input, error: Exception) -> str:
    if isinstance(error, OverflowError):
        return f"input {tensor.name!r} holds a number out of the range of {tensor.datatype}"
    return (
        f"data of input {tensor.name!r} is ragged, or not nested as its shape {tensor.shape} says"
    )


def _shaped(tensor: _Input, array: Array, nested: bool) -> Array:
    shape = tuple(tensor.shape)
    if array.size != prod(shape):
        raise InvalidRequest(_not_filled(tensor, array.size))
    if nested and not _nested_as(array.shape, shape):
        raise InvalidRequest(
            f"data of input {tensor.name!r} is nested as {list(array.shape)}, "
            f"its shape is {tensor.shape}"
        )
    return array.reshape(shape)


def _nested_as(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether lists are nested as the shape says; below a dimension of 0 nothing can show."""
    return found == shape or (0 in found and shape[: len(found)] == found)


def encode_response(response: InferenceResponse) -> bytes:
    """Encode an answer, its data flat in row-major order. Raises UnencodableOutput."""
    document: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    if response.id is not None:
        document["id"] = response.id
    document["outputs"] = [_encode_tensor(output) for output in response.outputs]
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _encode_tensor(output: OutputTensor) -> dict[str, Any]:
    return {
        "name": output.name,
        "datatype": output.datatype,
        "shape": output.array.shape,
        "data": _encode_data(output),
    }


def _encode_data(output: OutputTensor) -> Any:
    flat = np.ascontiguousarray(output.array.ravel())
    if output.datatype == "BYTES":
        return [_text(output.name, index, item) for index, item in enumerate(flat.tolist())]
    return flat if flat.dtype.isnative else flat.astype(flat.dtype.newbyteorder("="))


def _text(name: str, index: int, item: object) -> str:
    try:
        return item.decode() if isinstance(item, bytes) else _valid(item)
    except UnicodeError:
        problem = "not text in UTF-8"
    except TypeError:
        problem = f"of type {type(item).__name__}, neither text nor bytes"
    raise UnencodableOutput(f"output {name!r}: element {index} is {problem}; JSON cannot carry it")


def _valid(item: object) -> str:
    if not isinstance(item, str):
        raise TypeError
    item.encode()
    return item


def encode_metadata(metadata: ModelMetadata) -> Mapping[str, Any]:
    """Return the model metadata response as JSON-able data."""
    return {
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": [_encode_type(tensor) for tensor in metadata.inputs],
        "outputs": [_encode_type(tensor) for tensor in metadata.outputs],
    }


def _encode_type(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
