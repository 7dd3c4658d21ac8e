"""The generate extension: requests and answers as plain JSON objects, made for text.

After ``generate_rest.yaml`` of the Open Inference Protocol and Triton's generate extension. A
request's keys are the graph's inputs, ``parameters`` and ``id``; ``text_input`` stands for the only
BYTES input, ``text_output`` for the only BYTES output, where none has that name. Further scalars
are parameters. A value is a scalar or nested lists; dimensions of 1 are put before it where the
input has more. In answers, a tensor of one element is a scalar, any other one nested lists; outputs
whose names are those of an answer's other fields stand in its field ``outputs``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.encode import described
from anabranch.router.oip.parameters import check_parameters
from anabranch.router.oip.plain_inputs import (
    Parameter,
    fields_of,
    no_input,
    read_value,
    take_id,
    take_parameters,
    to_arrays,
)
from anabranch.router.oip.plain_outputs import dumped, text_of, value_of
from anabranch.router.oip.raw_tensors import Buffer

TEXT_INPUT, TEXT_OUTPUT = "text_input", "text_output"
OUTPUTS = "outputs"
FIELDS = frozenset({"model_name", "model_version", "id", "parameters", OUTPUTS, "done"})
"""Fields of an answer beside its outputs; outputs of these names stand within ``outputs``."""

_OVERHEAD = 64
"""Bytes that a piece of text takes beside its characters."""
_decode_parameter = msgspec.json.Decoder(Parameter).decode


def decode_generate(
    body: Buffer, metadata: ModelMetadata, limits: RequestLimits
) -> InferenceRequest:
    """Decode a request to the graph that ``metadata`` describes.

    Raises InvalidRequest or TooLarge.
    """
    fields = fields_of(body)
    fields = {_input_name(name, metadata): raw for name, raw in fields.items()}
    known = {tensor.name: tensor for tensor in metadata.inputs}
    own_id = take_id(fields, known)
    parameters = take_parameters(fields, known, limits)
    for name in fields.keys() - known.keys():
        if name in parameters:
            raise InvalidRequest(f"parameter {name[:64]!r} is there twice")
        parameters[name] = _parameter(name, fields.pop(name), known)
    if parameters:
        check_parameters([parameters], limits)
    values = {name: read_value(known[name], bytes(raw), limits) for name, raw in fields.items()}
    inputs = to_arrays(values, limits)
    return InferenceRequest(inputs, id=own_id, parameters=parameters, endpoint="generate")


def _input_name(name: str, metadata: ModelMetadata) -> str:
    if name != TEXT_INPUT:
        return name
    return _stand_in(name, metadata.inputs)


def _stand_in(name: str, tensors: Iterable[TensorMetadata]) -> str:
    """The only BYTES tensor, unless one has the name itself."""
    texts = [tensor.name for tensor in tensors if tensor.datatype == "BYTES"]
    return texts[0] if len(texts) == 1 else name


def _parameter(name: str, raw: msgspec.Raw, known: Mapping[str, Any]) -> Any:
    try:
        return _decode_parameter(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise no_input(name, known) from None


def encode_answer(response: InferenceResponse | None, metadata: ModelMetadata) -> bytes:
    """The answer of generate; None stands for a stream that was empty. Raises UnencodableOutput."""
    if response is None:
        response = InferenceResponse(metadata.name, metadata.versions[-1], None, [])
    return dumped(_document(response, _text_output(metadata, response)))


async def encode_each(
    responses: AsyncGenerator[InferenceResponse, None], metadata: ModelMetadata
) -> AsyncGenerator[bytes, None]:
    """The answers of generate_stream; ``done`` is true in one more, without further outputs."""
    last = InferenceResponse(metadata.name, metadata.versions[-1], None, [])
    text: str | None = None
    async with aclosing(responses):
        async for response in responses:
            text = _text_output(metadata, response) or text
            yield dumped(_document(response, text) | {"done": False})
            last = replace(response, outputs=[], parameters={})
    yield dumped(_document(last, None) | ({TEXT_OUTPUT: ""} if text else {}) | {"done": True})


def _document(response: InferenceResponse, text: str | None) -> dict[str, Any]:
    """Return an answer as JSON-able data; the output ``text`` goes by ``text_output``."""
    document = described(response)
    for output in response.outputs:
        name = TEXT_OUTPUT if output.name == text else output.name
        place = document.setdefault(OUTPUTS, {}) if name in FIELDS else document
        place[name] = value_of(output, text_of)
    return document


def _text_output(metadata: ModelMetadata, response: InferenceResponse) -> str | None:
    """The graph's only output of datatype BYTES.

    Where nobody knows the types of the graph's outputs, those of the response count.
    """
    types = {output.name: output.datatype for output in response.outputs}
    types |= {tensor.name: tensor.datatype for tensor in metadata.outputs}
    texts = [name for name, datatype in types.items() if datatype == "BYTES"]
    return texts[0] if len(texts) == 1 and types.get(TEXT_OUTPUT, "BYTES") == "BYTES" else None


async def joined(
    responses: AsyncGenerator[InferenceResponse, None], most: int
) -> InferenceResponse | None:
    """All responses as one: the texts of a stream, one after the other; None if there is none.

    Raises InvalidRequest for a stream of anything else, and for text of over ``most`` bytes.
    """
    first: InferenceResponse | None = None
    further: dict[str, list[str]] = {}
    size = 0
    async with aclosing(responses):
        async for response in responses:
            if first is None:
                first = response
                continue
            for output in response.outputs:
                text = _streamed(output)
                further.setdefault(output.name, []).append(text)
                size += len(text) + _OVERHEAD
            if size > most:
                raise InvalidRequest(f"the text is over {most} bytes; ask generate_stream")
    return first if first is None or not further else _with_texts(first, further)


def _streamed(output: OutputTensor) -> str:
    if output.datatype == "BYTES" and output.array.size == 1:
        return text_of(output, output.array.item())
    raise InvalidRequest(
        f"output {output.name!r} streams {output.datatype}{list(output.array.shape)}, "
        "and only single texts can be joined; ask generate_stream"
    )


def _with_texts(first: InferenceResponse, further: Mapping[str, list[str]]) -> InferenceResponse:
    outputs = []
    for output in first.outputs:
        if output.name in further:
            whole = "".join([_streamed(output), *further[output.name]])
            output = replace(output, array=np.array([whole], object))
        outputs.append(output)
    return replace(first, outputs=outputs)
