"""Requests of Open Inference Protocol v2 over HTTP; ``encoding`` has the answers.

Decoding goes in two steps. The first reads the envelope and leaves each tensor's ``data`` as the
bytes it came in, so that limits and shapes are checked before elements take memory; the second
reads the elements as the one type that the datatype allows, at the one depth that the shape allows.

Where the protocol leaves a choice:

- Fields that it does not name are ignored, as extensions add some; parameters are strings, numbers
  and booleans. ``null`` stands for an optional field left out, and ``"outputs": []`` for all.
- Types are strict: ``true`` is no number, ``1.0`` no integer, ``"1"`` only a string. Numbers that
  are out of the datatype's range are refused, never wrapped or turned into infinity.
- Data is flat, or nested exactly as the shape says.
- NaN and the infinities have no JSON and are refused.
- BYTES are JSON strings, so text in UTF-8.
- Binary tensors, behind the JSON, may stand beside those in it; see ``binary``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import Array, InferenceRequest, TensorMetadata
from anabranch.router.limits import LARGE, RequestLimits
from anabranch.router.oip.binary_extension import Tail, only_input, split
from anabranch.router.oip.encode import JSON_ONLY, ResponseForm
from anabranch.router.oip.envelope import (
    Envelope,
    EnvelopeInput,
    EnvelopeOutput,
    Parameters,
    decode_envelope,
)
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.json_elements import decode_elements
from anabranch.router.oip.parameters import check_names, check_parameters
from anabranch.router.oip.raw_tensors import Buffer, decode_raw
from anabranch.router.oip.tensor_header import check_count, check_together
from anabranch.specs.excerpts import shown

_REFUSED = {
    "classification": "ask for the scores, or let the graph end in an argmax",
    "shared_memory_region": "send and ask for the data itself",
}
"""Parameters of other extensions that change what a tensor means: what to do instead."""


_NO_TAIL = Tail()


class DecodedBody(NamedTuple):
    """A request, and the form in which its answer is asked for."""

    request: InferenceRequest
    form: ResponseForm = JSON_ONLY


def decode_body(
    body: Buffer,
    length: int | None,
    limits: RequestLimits,
    inputs: Callable[[], Sequence[TensorMetadata]],
) -> DecodedBody:
    """Decode the body of an HTTP request whose first ``length`` bytes are JSON, None for all.

    ``inputs`` gives what the graph takes, for a request that does not say: a length of 0 stands for
    a body that is the only input, whose answer is binary. Raises InvalidRequest or TooLarge.
    """
    if length is None:
        return _decode(body, _NO_TAIL, limits)
    if length == 0:
        return DecodedBody(
            InferenceRequest(only_input(body, inputs(), limits)), ResponseForm(is_binary=True)
        )
    document, tail = split(body, length)
    return _decode(document, tail, limits)


def decode_request(document: Buffer, limits: RequestLimits) -> InferenceRequest:
    """Decode an inference request in JSON. Raises InvalidRequest or TooLarge."""
    return _decode(document, _NO_TAIL, limits).request


def _decode(document: Buffer, tail: Tail, limits: RequestLimits) -> DecodedBody:
    if len(document) > LARGE:
        check_names(document)
    envelope = parsed(decode_envelope, document, "the body", "not an inference request")
    parameters, outputs = envelope.parameters or {}, envelope.outputs or ()
    if len(envelope.inputs) != 1 or parameters or outputs or envelope.inputs[0].parameters:
        _check_envelope(envelope, limits)
    inputs: dict[str, Array] = {}
    for tensor in envelope.inputs:
        if tensor.name in inputs:
            raise InvalidRequest(f"input {tensor.name!r} is there twice")
        inputs[tensor.name] = _decode_tensor(tensor, tail, limits)
    if tail is not _NO_TAIL:
        tail.finish()
    form = _form(parameters, outputs, limits) if parameters or outputs else JSON_ONLY
    names = tuple(dict.fromkeys([output.name for output in outputs])) if outputs else ()
    return DecodedBody(InferenceRequest(inputs, names, envelope.id, parameters), form)


def _check_envelope(envelope: Envelope, limits: RequestLimits) -> None:
    check_count(len(envelope.inputs), "inputs", limits)
    _check_parameters(envelope, limits)
    if len(envelope.inputs) > 1:
        check_together(envelope.inputs, limits)


def _check_parameters(envelope: Envelope, limits: RequestLimits) -> None:
    owners = (envelope, *envelope.inputs, *(envelope.outputs or ()))
    found = [owner.parameters for owner in owners if owner.parameters]
    if found:
        check_parameters(found, limits)


def _form(
    parameters: Parameters, outputs: Sequence[EnvelopeOutput], limits: RequestLimits
) -> ResponseForm:
    """Return what is asked of the outputs, and take it out of the request's ``parameters``."""
    check_count(len(outputs), "outputs", limits)
    is_binary = _take_flag(parameters, "binary_data_output", "the request")
    own = _forms(outputs)
    return ResponseForm(bool(is_binary), own) if own or is_binary else JSON_ONLY


def _take_flag(parameters: Parameters, name: str, whose: str) -> bool | None:
    """Take a parameter out that is true or false; None where it is not there."""
    value = parameters.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"parameter {name!r} of {whose} must be true or false, got {value!r}")
    return value


def _forms(outputs: Iterable[EnvelopeOutput]) -> dict[str, bool]:
    """Return the outputs that say themselves whether they are to be binary."""
    found: dict[str, bool] = {}
    for output in outputs:
        if not output.parameters:
            continue
        whose = f"output {output.name!r}"
        _refuse(output.parameters, whose)
        is_binary = _take_flag(output.parameters, "binary_data", whose)
        if is_binary is not None:
            found[output.name] = is_binary
    return found


def _refuse(parameters: Parameters, whose: str) -> None:
    for name, instead in _REFUSED.items():
        if parameters.get(name):
            raise InvalidRequest(f"parameter {name!r} of {whose} is not supported: {instead}")


def _decode_tensor(tensor: EnvelopeInput, tail: Tail, limits: RequestLimits) -> Array:
    """Return the tensor as an array of its datatype and shape."""
    size = _binary_size(tensor) if tensor.parameters else None
    if size is not None:
        return decode_raw(tensor, tail.take(tensor.name, size), limits)
    if isinstance(tensor.data, msgspec.UnsetType):
        raise InvalidRequest(f"input {tensor.name!r} has no data")
    return decode_elements(tensor, bytes(tensor.data), limits)


def _binary_size(tensor: EnvelopeInput) -> int | None:
    """Return how many bytes the tensor has behind the JSON; None for a tensor in JSON."""
    parameters, whose = tensor.parameters or {}, f"input {tensor.name!r}"
    _refuse(parameters, whose)
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidRequest(
            f"parameter 'binary_data_size' of {whose} must be a number of bytes, got {shown(size)}"
        )
    if not isinstance(tensor.data, msgspec.UnsetType):
        raise InvalidRequest(f"{whose} has both data and a binary_data_size")
    return size
