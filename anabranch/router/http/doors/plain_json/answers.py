"""Answers in plain JSON: outputs by name, in the form of their request.

Of values, an output of one element is a scalar and any other one nested lists. Of rows, each record
has the outputs of its row; of columns, each output is a list with an element for each row. Outputs
of BYTES that are no UTF-8 are ``{"b64": "…"}``. Parameters of the answer, and the identifier that
its request has given, stand beside the outputs; outputs of their names stand in ``outputs``.
"""

from __future__ import annotations

from typing import Any

from anabranch.errors import InvalidRequest
from anabranch.router.errors import HttpReply
from anabranch.router.http.doors.beside_outputs import parameters_field, revision_header
from anabranch.router.http.doors.plain_json.json_requests import (
    BESIDE_INPUTS,
    COLUMNS,
    OUTPUTS,
    ROWS,
    PlainForm,
)
from anabranch.router.inference.contract import InferenceResponse
from anabranch.router.oip.plain_outputs import (
    column_of,
    dumped,
    rows_of,
    text_or_tagged,
    value_of,
    without_rows,
)


def encode_plain(response: InferenceResponse, form: PlainForm, rows: int) -> HttpReply:
    """Encode an answer; raise InvalidRequest where an output has not so many ``rows``."""
    own_id = {} if response.id is None else {"id": response.id}
    beside = own_id | parameters_field(response)
    if form == "rows":
        outputs: dict[str, Any] = {ROWS: _records(response, rows)}
    elif form == "columns":
        outputs = {COLUMNS: _columns(response)}
    else:
        outputs = _values(response)
    return HttpReply(200, dumped(outputs | beside), revision_header(response))


def _values(response: InferenceResponse) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for output in response.outputs:
        place = document.setdefault(OUTPUTS, {}) if output.name in BESIDE_INPUTS else document
        place[output.name] = value_of(output, text_or_tagged)
    return document


def _columns(response: InferenceResponse) -> dict[str, Any]:
    return {output.name: column_of(output, text_or_tagged) for output in response.outputs}


def _records(response: InferenceResponse, rows: int) -> list[dict[str, Any]]:
    odd = without_rows(response.outputs, rows)
    if odd is not None:
        raise InvalidRequest(
            f"output {odd.name!r} of shape {list(odd.array.shape)} has no value for each of the "
            f"{rows} rows: leave it out by 'outputs', or send 'columns'"
        )
    return rows_of(_columns(response)) if response.outputs else [{} for _ in range(rows)]
