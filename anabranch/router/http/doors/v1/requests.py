"""Requests of the V1 protocol, in row and in column format.

After TensorFlow Serving (``g3doc/api_rest.md``, ``util/json_tensor.cc``) and KServe, whose V1 has
its row format: ``instances`` is a list of values of the only input, or of objects by input;
``inputs`` is the value of the only input, or an object by input. ``{"b64": "…"}`` stands for bytes.

As there, a request has one of both, and a list of instances is plain or of objects, not mixed.
Unlike there, dimensions of 1 may be left out behind the rows, names that are no inputs are refused
in ``inputs`` too, and NaN and the infinities, which are no JSON, are refused. ``parameters`` are
those of the Open Inference Protocol; all other fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import InferenceRequest, ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.plain_inputs import (
    B64,
    MAX_RECORDS,
    PlainValue,
    Row,
    by_input,
    fields_of,
    no_input,
    read_column,
    read_rows,
    read_value,
    records_of,
    take_parameters,
    to_arrays,
)
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.specs.excerpts import listing, shown

Inputs: TypeAlias = Mapping[str, TensorMetadata]
INSTANCES, INPUTS = "instances", "inputs"
SIGNATURE = "serving_default"
"""TensorFlow's name of a model's signature where no other is given; a graph has this one alone."""

_IS_LIST = re.compile(rb"[ \t\r\n]*\[").match
_IS_OBJECT = re.compile(rb"[ \t\r\n]*\{").match
_HOLDS_OBJECTS = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\{").match
_IS_TEXT = re.compile(rb'[ \t\r\n]*"').match
_decode_signature = msgspec.json.Decoder(str | None).decode
_decode_by_input = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class V1Request(NamedTuple):
    """A request, and whether it came in row format, in which it is answered then."""

    request: InferenceRequest
    is_by_row: bool


def decode_v1(body: Buffer, metadata: ModelMetadata, limits: RequestLimits) -> V1Request:
    """Decode a request to the graph of the metadata; raise InvalidRequest or TooLarge."""
    fields = fields_of(body, MAX_RECORDS)
    _check_signature(fields)
    given = [name for name in (INSTANCES, INPUTS) if name in fields]
    if len(given) != 1:
        which = "both" if given else "neither"
        raise InvalidRequest(f"a request has {INSTANCES!r} or {INPUTS!r}, this one has {which}")
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    read = _READ[given[0]]
    values = read(bytes(fields[given[0]]), inputs, limits)
    parameters = take_parameters(fields, (), limits)
    request = InferenceRequest(to_arrays(values, limits), parameters=parameters, endpoint="predict")
    return V1Request(request, given[0] == INSTANCES)


def _check_signature(fields: Mapping[str, msgspec.Raw]) -> None:
    name = parsed(_decode_signature, fields.get("signature_name", b"null"), "'signature_name'")
    if name not in (None, "", SIGNATURE):
        raise InvalidRequest(f"there is no signature {name[:64]!r}: a graph has one, {SIGNATURE!r}")


def _read_instances(raw: bytes, inputs: Inputs, limits: RequestLimits) -> dict[str, PlainValue]:
    if not _IS_LIST(raw):
        start = raw[:64].decode(errors="replace")
        raise InvalidRequest(f"{INSTANCES!r} must be a list, got {shown(start)}")
    rows = records_of(raw, f"'{INSTANCES}'") if _HOLDS_OBJECTS(raw) else []
    if rows and not _is_bytes(rows[0]):
        named = by_input(rows, inputs, INSTANCES)
        return {
            name: read_rows(inputs[name], found, limits, "tagged") for name, found in named.items()
        }
    tensor = _only_input(inputs, INSTANCES, "a list of objects by input")
    return {tensor.name: read_column(tensor, raw, limits, "tagged")}


def _read_inputs(raw: bytes, inputs: Inputs, limits: RequestLimits) -> dict[str, PlainValue]:
    if _IS_OBJECT(raw):
        named = parsed(_decode_by_input, raw, f"'{INPUTS}'")
        if not _is_bytes(named):
            for name in named:
                if name not in inputs:
                    raise no_input(name, inputs)
            return {name: _read(inputs[name], bytes(one), limits) for name, one in named.items()}
    tensor = _only_input(inputs, INPUTS, "an object by input")
    return {tensor.name: _read(tensor, raw, limits)}


def _read(tensor: TensorMetadata, raw: bytes, limits: RequestLimits) -> PlainValue:
    read = read_column if _IS_LIST(raw) else read_value
    return read(tensor, raw, limits, "tagged")


_READ = {INSTANCES: _read_instances, INPUTS: _read_inputs}


def _is_bytes(found: Row) -> bool:
    """Return whether an object is no values by input, but one value: bytes in Base64."""
    return found.keys() == {B64} and _IS_TEXT(bytes(found[B64])) is not None


def _only_input(inputs: Inputs, field: str, instead: str) -> TensorMetadata:
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    raise InvalidRequest(
        f"the graph has {len(inputs)} inputs ({listing(inputs)}), so {field!r} must be {instead}"
    )
