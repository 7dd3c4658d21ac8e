"""Requests in plain JSON: an object in one of three forms, in which the answer comes too.

- ``{"x": …, "y": …}``: each input by its name, a scalar or nested lists;
- ``{"rows": [{"x": …, "y": …}, …]}``: a record for each row of all inputs;
- ``{"columns": {"x": […], "y": […]}}``: a list with an element for each row, by input.

Further fields are ``id``, ``parameters``, and ``outputs``, the names of those that are asked for. A
field whose name is that of an input is that input. BYTES are texts; those of inputs with
``content: raw`` are Base64, or ``{"b64": "…"}``, and so are PNG and JPEG for ``content: image``. An
optional input that is ``null`` is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import InferenceRequest, ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.plain_inputs import (
    MAX_RECORDS,
    BytesForm,
    PlainValue,
    by_input,
    fields_of,
    no_input,
    read_column,
    read_rows,
    read_value,
    records_of,
    take_id,
    take_parameters,
    to_arrays,
)
from anabranch.router.oip.raw_tensors import Buffer

PlainForm: TypeAlias = Literal["values", "rows", "columns"]
Inputs: TypeAlias = Mapping[str, TensorMetadata]
Fields: TypeAlias = dict[str, msgspec.Raw]
ROWS, COLUMNS, OUTPUTS = "rows", "columns", "outputs"
BESIDE_INPUTS = ("id", "parameters", OUTPUTS)
"""Fields of a request beside its values."""
_BYTES_FORMS: Mapping[str, BytesForm] = {"text": "text", "raw": "base64", "image": "text"}
"""Forms of BYTES by the declared content."""

_decode_names = msgspec.json.Decoder(list[str] | None).decode
_decode_columns = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class PlainRequest(NamedTuple):
    """A request, and the form in which it is answered."""

    request: InferenceRequest
    form: PlainForm
    rows: int = 0
    """Number of records, where it came as such."""


class _Values(NamedTuple):
    form: PlainForm
    by_input: Mapping[str, PlainValue]
    rows: int = 0


def decode_json(body: Buffer, metadata: ModelMetadata, limits: RequestLimits) -> PlainRequest:
    """Decode a request to the graph of the metadata; raise InvalidRequest or TooLarge."""
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    fields = fields_of(body, MAX_RECORDS)
    own_id = take_id(fields, inputs)
    parameters = take_parameters(fields, inputs, limits)
    outputs = _take_outputs(fields, inputs)
    values = _read(fields, inputs, limits)
    request = InferenceRequest(
        to_arrays(values.by_input, limits), outputs, own_id, parameters, endpoint="predict"
    )
    return PlainRequest(request, values.form, values.rows)


def _take_outputs(fields: Fields, inputs: Collection[str]) -> tuple[str, ...]:
    if OUTPUTS in inputs:
        return ()
    names = parsed(_decode_names, fields.pop(OUTPUTS, b"null"), "'outputs'") or []
    return tuple(dict.fromkeys(names))


def _read(fields: Fields, inputs: Inputs, limits: RequestLimits) -> _Values:
    """Read the values in whichever form they are."""
    if ROWS in fields and ROWS not in inputs:
        return _read_records(_alone(ROWS, fields), inputs, limits)
    if COLUMNS in fields and COLUMNS not in inputs:
        return _read_columns(_alone(COLUMNS, fields), inputs, limits)
    for name in fields:
        if name not in inputs:
            raise no_input(name, inputs, [ROWS, COLUMNS, *BESIDE_INPUTS])
    values = {
        name: read_value(inputs[name], bytes(raw), limits, _form_of(inputs[name]))
        for name, raw in fields.items()
        if not _is_left_out(inputs[name], [raw])
    }
    return _Values("values", values)


def _alone(name: str, fields: Fields) -> msgspec.Raw:
    others = [other for other in fields if other != name]
    if others:
        raise InvalidRequest(f"beside {name!r} there is {others[0][:64]!r}: put it into {name!r}")
    return fields[name]


def _read_records(raw: msgspec.Raw, inputs: Inputs, limits: RequestLimits) -> _Values:
    records = records_of(raw, "'rows'")
    values = {
        name: read_rows(inputs[name], found, limits, _form_of(inputs[name]))
        for name, found in by_input(records, inputs, ROWS).items()
        if not _is_left_out(inputs[name], found)
    }
    return _Values("rows", values, len(records))


def _read_columns(raw: msgspec.Raw, inputs: Inputs, limits: RequestLimits) -> _Values:
    columns = parsed(_decode_columns, raw, "'columns'")
    for name in columns:
        if name not in inputs:
            raise no_input(name, inputs)
    values = {
        name: read_column(inputs[name], bytes(column), limits, _form_of(inputs[name]))
        for name, column in columns.items()
        if not _is_left_out(inputs[name], [column])
    }
    _check_lengths(values)
    return _Values("columns", values)


def _is_left_out(tensor: TensorMetadata, raws: Sequence[msgspec.Raw]) -> bool:
    """Return whether an optional input has no value: null stands for one that is left out."""
    return tensor.optional and bool(raws) and all(bytes(raw) == b"null" for raw in raws)


def _check_lengths(values: Mapping[str, PlainValue]) -> None:
    first, most = next(((name, one.shape[0]) for name, one in values.items()), ("", 0))
    for name, value in values.items():
        if value.shape[0] != most:
            raise InvalidRequest(
                f"column {name!r} has {value.shape[0]} rows, column {first!r} has {most}"
            )


def _form_of(tensor: TensorMetadata) -> BytesForm:
    return _BYTES_FORMS[tensor.content]
