"""Answers of the V1 protocol: in row format ``predictions``, in column format ``outputs``.

After TensorFlow Serving (``util/json_tensor.cc``, MakeJsonFromTensors): the only output stands by
itself, several are objects by name, and BYTES of outputs whose names end in ``_bytes`` are
``{"b64": "…"}``, here as those that are no UTF-8. NaN and the infinities are ``null``, for JSON has
neither. What an answer has of parameters stands in ``parameters``.
"""

from __future__ import annotations

from typing import Any

from anabranch.errors import InvalidRequest
from anabranch.router.core import InferenceResponse, OutputTensor
from anabranch.router.errors import HttpReply
from anabranch.router.http.doors.beside_outputs import parameters_field, revision_header
from anabranch.router.http.doors.v1.requests import INPUTS
from anabranch.router.oip.plain_outputs import (
    dumped,
    nested,
    rows_of,
    tagged,
    text_or_tagged,
    without_rows,
)

PREDICTIONS, OUTPUTS = "predictions", "outputs"
_BYTES = "_bytes"


def encode_v1(response: InferenceResponse, is_by_row: bool) -> HttpReply:
    """Encode an answer; raise InvalidRequest where its outputs have not equally many rows."""
    found = _by_row(response) if is_by_row else _by_output(response)
    document = {PREDICTIONS if is_by_row else OUTPUTS: found} | parameters_field(response)
    return HttpReply(200, dumped(document), revision_header(response))


def _by_row(response: InferenceResponse) -> Any:
    shape = response.outputs[0].array.shape
    odd = without_rows(response.outputs, shape[0]) if shape else response.outputs[0]
    if odd is not None:
        raise InvalidRequest(
            f"output {odd.name!r} of shape {list(odd.array.shape)} cannot be told row by row; "
            f"send {INPUTS!r}, which is answered output by output"
        )
    columns = {output.name: _value(output) for output in response.outputs}
    return rows_of(columns) if len(columns) > 1 else next(iter(columns.values()))


def _by_output(response: InferenceResponse) -> Any:
    values = {output.name: _value(output) for output in response.outputs}
    return values if len(values) > 1 else next(iter(values.values()))


def _value(output: OutputTensor) -> Any:
    return nested(output, tagged if output.name.endswith(_BYTES) else text_or_tagged)
