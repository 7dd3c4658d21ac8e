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
- The binary tensor extension is refused with an error that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import orjson
from msgspec import Meta

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.core import (
    Array,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.elements import decode_elements
from anabranch.router.errors import UnencodableOutput
from anabranch.router.header import Header
from anabranch.router.limits import Limits

Parameters: TypeAlias = dict[str, bool | int | float | str]

_NO_BINARY = "binary tensors are not supported yet; send and ask for JSON data"
_BINARY_PARAMETERS = ("binary_data", "binary_data_output", "binary_data_size")


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
    header = Header(tensor.name, tensor.datatype, tensor.shape)
    return decode_elements(header, bytes(tensor.data), limits)


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
    if output.datatype == "BF16":
        with np.errstate(invalid="ignore"):  # some bits that are no number
            return flat.astype(np.float32)
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
