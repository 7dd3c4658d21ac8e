"""Answers of the V1 protocol: in row format ``predictions``, in column format ``outputs``.

After TensorFlow Serving (``util/json_tensor.cc``, MakeJsonFromTensors): the only output of a graph
stands by itself, several are objects by name, and BYTES of outputs whose names end in ``_bytes``
are ``{"b64": "…"}``, here as those that are no UTF-8. NaN and the infinities are ``null``, for JSON
has neither. Parameters of an answer stand in ``parameters``.
"""

from __future__ import annotations

from typing import Any

from anabranch.errors import InvalidRequest
from anabranch.router.errors import HttpReply
from anabranch.router.http.doors.beside_outputs import parameters_field, revision_header
from anabranch.router.http.doors.v1.requests import INPUTS
from anabranch.router.inference.contract import InferenceResponse, ModelMetadata, OutputTensor
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


def encode_v1(response: InferenceResponse, metadata: ModelMetadata, is_by_row: bool) -> HttpReply:
    """Encode an answer; raise InvalidRequest where its outputs have not equally many rows."""
    outputs = metadata.outputs if metadata.is_complete else response.outputs
    has_names = len(outputs) > 1
    found = _by_row(response, has_names) if is_by_row else _by_output(response, has_names)
    document = {PREDICTIONS if is_by_row else OUTPUTS: found} | parameters_field(response)
    return HttpReply(200, dumped(document), revision_header(response))


def _by_row(response: InferenceResponse, has_names: bool) -> Any:
    if not response.outputs:
        return []
    shape = response.outputs[0].array.shape
    odd = without_rows(response.outputs, shape[0]) if shape else response.outputs[0]
    if odd is not None:
        raise InvalidRequest(
            f"output {odd.name!r} of shape {list(odd.array.shape)} cannot be told row by row; "
            f"send {INPUTS!r}, which is answered output by output"
        )
    columns = _values(response)
    return rows_of(columns) if has_names else next(iter(columns.values()))


def _by_output(response: InferenceResponse, has_names: bool) -> Any:
    values = _values(response)
    return values if has_names or not values else next(iter(values.values()))


def _values(response: InferenceResponse) -> dict[str, Any]:
    return {output.name: _value(output) for output in response.outputs}


def _value(output: OutputTensor) -> Any:
    return nested(output, tagged if output.name.endswith(_BYTES) else text_or_tagged)
