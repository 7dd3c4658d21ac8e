"""Open Inference Protocol v2 over gRPC: messages to requests, responses to messages.

Where the protocol leaves a choice:

- Tensors come as typed contents or as ``raw_input_contents``. As the protocol says, raw ones are
  for all inputs or for none; FP16 and BF16 have no typed contents.
- An answer is in the form of its request: typed where the inputs were, else raw, which is shorter
  and faster. Outputs of FP16 or BF16 make all of it raw.
- Types are strict: typed elements are in the one field of their datatype, and within its range.
- An ``id`` of no letters is none, and no ``outputs`` are all of them.
- Shared memory and ``classification`` are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from anabranch.errors import InvalidRequest
from anabranch.router.grpc import wire
from anabranch.router.grpc.contents import FIELDS, decode_contents, encode_contents
from anabranch.router.grpc.messages import (
    InferParameter,
    InferRequest,
    InferResponse,
    Message,
    parse,
    response_type,
)
from anabranch.router.inference.contract import (
    Array,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.parameters import check_parameters
from anabranch.router.oip.raw_tensors import Buffer, decode_raw, raw_buffer
from anabranch.router.oip.tensor_header import check_count, check_together

_RAW_INPUTS = InferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_OUTPUTS = InferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_TENSORS = {InferRequest.DESCRIPTOR.fields_by_name[name].number for name in ("inputs", "outputs")}
_SMALL = 2 * wire.MAX_FIELDS
"""Bytes that cannot hold too many fields, each of which takes two, and are quickly copied."""
_MAX_NAME, _MAX_ID = 256, 1024
_SHARED = "shared_memory_region"
_CLASSES = "classification"
FINAL = "triton_final_response"
"""Parameter of an answer in a stream: whether it is the last of its request."""
_CHOICES = {
    bool: "bool_param",
    int: "int64_param",
    float: "double_param",
    str: "string_param",
}
ModelMetadataResponse = response_type("ModelMetadata")


@dataclass(frozen=True, slots=True)
class DecodedMessage:
    """A message that asks for inference."""

    model: str
    version: str
    """Number of a revision; empty for whichever the graph chooses."""
    request: InferenceRequest
    is_typed: bool
    """Whether its tensors came as typed contents."""


def decode_request(message: Buffer, limits: RequestLimits) -> DecodedMessage:
    """Decode a ModelInferRequest. Raises InvalidRequest or TooLarge."""
    found, raw = _parsed(message)
    _check_lengths(found)
    check_count(len(found.inputs), "inputs", limits)
    check_count(len(found.outputs), "outputs", limits)
    own = parameters(found.parameters, "the request")
    headers = _headers(found)
    outputs = _outputs(found)
    check_parameters([own, *_of_tensors(found)], limits)
    request = InferenceRequest(
        _inputs(found, headers, raw, limits), outputs, found.id or None, own, protocol="grpc"
    )
    return DecodedMessage(
        found.model_name, found.model_version, request, not raw and bool(found.inputs)
    )


def _parsed(message: Buffer) -> tuple[Message, Sequence[Buffer]]:
    """Parse a message, and return it with its raw contents; InvalidRequest, TooLarge."""
    if len(message) <= _SMALL:
        with suppress(InvalidRequest):  # the walk below says where it is malformed
            found = parse(InferRequest, message)
            return found, list(found.raw_input_contents)
    envelope, raw = _split(message)
    return parse(InferRequest, envelope), raw


def _split(message: Buffer) -> tuple[Buffer, list[memoryview]]:
    """Take the raw contents out of a message: they are large, and need no copy.

    Fields are counted, also those of inputs and outputs; InvalidRequest, TooLarge.
    """
    view = memoryview(message)
    raw: list[memoryview] = []
    rest: list[memoryview] = []
    left = wire.MAX_FIELDS
    for field in wire.fields(message):
        if field.number in _TENSORS and field.kind == wire.BYTES:
            left -= len(list(wire.fields(message, field.value, field.end, left)))
        if field.number != _RAW_INPUTS:
            rest.append(view[field.start : field.end])
        elif field.kind == wire.BYTES:
            raw.append(view[field.value : field.end])
    return (b"".join(rest) if raw else message), raw


def _check_lengths(found: Message) -> None:
    for what, text, most in (("id", found.id, _MAX_ID), ("model_version", found.model_version, 64)):
        if len(text) > most:
            raise InvalidRequest(f"{what} has {len(text)} characters, over the limit of {most}")


def _of_tensors(found: Message) -> Iterator[Mapping[str, bool | int | float | str]]:
    """Return the parameters of inputs and outputs, as many as have some."""
    for tensor in (*found.inputs, *found.outputs):
        if tensor.parameters:
            yield parameters(tensor.parameters, "a tensor")


def _headers(found: Message) -> list[Header]:
    headers = [_header(tensor) for tensor in found.inputs]
    names = set()
    for header in headers:
        if header.name in names:
            raise InvalidRequest(f"input {header.name!r} is there twice")
        names.add(header.name)
    return headers


def _inputs(
    found: Message, headers: list[Header], raw: Sequence[Buffer], limits: RequestLimits
) -> dict[str, Array]:
    if raw and len(raw) != len(found.inputs):
        raise InvalidRequest(
            f"raw_input_contents hold {len(raw)} tensors for {len(found.inputs)} inputs; "
            "they are for all inputs or for none"
        )
    if len(headers) > 1:
        check_together(headers, limits)
    return {
        header.name: _tensor(header, tensor, raw[index] if raw else None, limits)
        for index, (header, tensor) in enumerate(zip(headers, found.inputs, strict=True))
    }


def _header(tensor: Message) -> Header:
    name, shape = tensor.name, list(tensor.shape[:_MAX_NAME])
    if len(name) > _MAX_NAME or len(tensor.datatype) > _MAX_NAME:
        raise InvalidRequest(f"a name or datatype is over the limit of {_MAX_NAME} characters")
    if min(shape, default=0) < 0:
        raise InvalidRequest(f"input {name!r} has a size below 0 in its shape {shape}")
    if _SHARED in parameters(tensor.parameters, f"input {name!r}"):
        raise InvalidRequest(f"input {name!r}: shared memory is not supported; send its contents")
    return Header(name, tensor.datatype, shape)


def _tensor(header: Header, tensor: Message, raw: Buffer | None, limits: RequestLimits) -> Array:
    if raw is None:
        return decode_contents(header, tensor.contents, limits)
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"input {header.name!r} has contents, and raw_input_contents are there; use one of them"
        )
    return decode_raw(header, raw, limits)


def _outputs(found: Message) -> tuple[str, ...]:
    for output in found.outputs:
        asked = parameters(output.parameters, f"output {output.name[:_MAX_NAME]!r}")
        for name in (_SHARED, _CLASSES):
            if asked.get(name):
                _refuse_output(output.name, name)
    return tuple(dict.fromkeys(output.name[:_MAX_NAME] for output in found.outputs))


def _refuse_output(output: str, parameter: str) -> NoReturn:
    raise InvalidRequest(f"output {output[:_MAX_NAME]!r}: {parameter} is not supported")


def parameters(found: Mapping[str, Message], what: str) -> dict[str, bool | int | float | str]:
    """Return parameters as plain values; InvalidRequest for one without a value."""
    return {name: _parameter(name, found[name], what) for name in found}


def _parameter(name: str, value: Message, what: str) -> bool | int | float | str:
    choice = value.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"parameter {name[:_MAX_NAME]!r} of {what} has no value")
    found: bool | int | float | str = getattr(value, choice)
    return found


def encode_response(
    response: InferenceResponse, is_typed: bool = False, is_final: bool | None = None
) -> list[Buffer]:
    """Encode an answer as a ModelInferResponse: pieces that are one message when joined.

    ``is_final`` is for streams. Raises UnencodableOutput.
    """
    typed = is_typed and all(output.datatype in FIELDS for output in response.outputs)
    message = InferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id or "",
    )
    if is_final is not None:
        mark_final(message, is_final)
    for name, value in response.parameters.items():
        message.parameters[name].CopyFrom(InferParameter(**{_choice(value): value}))
    for output in response.outputs:
        added = message.outputs.add(name=output.name, datatype=output.datatype)
        added.shape.extend(output.array.shape)
        if typed:
            encode_contents(output, added.contents)
    pieces: list[Buffer] = [message.SerializeToString()]
    if not typed:
        pieces.extend(_raw(response.outputs))
    return pieces


def _choice(value: bool | int | float | str) -> str:
    """The field of InferParameter that takes a value of this type."""
    return _CHOICES[type(value)]


def mark_final(response: Message, is_final: bool) -> None:
    """Say of a ModelInferResponse whether it is the last of its request."""
    response.parameters[FINAL].CopyFrom(InferParameter(bool_param=is_final))


def _raw(outputs: Iterable[OutputTensor]) -> Iterator[Buffer]:
    """The raw contents as fields of the message, written here to save copies of large tensors."""
    for output in outputs:
        data = raw_buffer(output.array, output.datatype)
        yield wire.head(_RAW_OUTPUTS, len(data))
        yield data


def encode_metadata(metadata: ModelMetadata) -> bytes:
    """Return the answer of ModelMetadata."""
    message = ModelMetadataResponse(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=map(_encode_type, metadata.inputs),
        outputs=map(_encode_type, metadata.outputs),
    )
    data: bytes = message.SerializeToString()
    return data


def _encode_type(tensor: TensorMetadata) -> Message:
    kind = ModelMetadataResponse.TensorMetadata
    return kind(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
