"""The endpoint ``predict`` in a graph's OpenAPI document, with examples of requests that work."""

from __future__ import annotations

from typing import Any, TypeAlias

from anabranch.router.http.doors.form_body import MULTIPART, URLENCODED
from anabranch.router.http.doors.plain_json.json_requests import COLUMNS, OUTPUTS, ROWS
from anabranch.router.http.doors.row_examples import names_of_rows, row_example
from anabranch.router.http.openapi import (
    json_content,
    operation,
    plain_examples,
    plain_schema,
    responses,
)
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata

Json: TypeAlias = dict[str, Any]
_RAW = "dGV4dA=="
"""A text in Base64."""
_PARAMETERS: Json = {"$ref": "#/components/schemas/Parameters"}
_ID: Json = {"type": "string", "maxLength": 1024}
_OUTPUTS: Json = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Outputs that are asked for; all of them without it.",
}
_FILE: Json = {"type": "string", "format": "binary"}


def paths_of(metadata: ModelMetadata) -> Json:
    """Return the path of ``predict`` of the graph that the metadata describe."""
    form = {"schema": _form_schema(metadata)}
    content = json_content(_schema(metadata), examples=_examples(metadata))
    predict = operation(
        "Plain JSON",
        "predict",
        "Inference with named values",
        responses("The outputs by name", json_content({"type": "object"})),
        content | {MULTIPART: form, URLENCODED: form},
        description="Values by input, or records in `rows`, or lists in `columns`; the answer "
        "comes in the same form. BYTES are texts, raw ones Base64. A form has a field or a file "
        "for each input.",
    )
    return {f"/v2/models/{metadata.name}/predict": {"post": predict}}


def _examples(metadata: ModelMetadata) -> Json:
    taken = {tensor.name for tensor in metadata.inputs}
    values = plain_examples(metadata.inputs, _RAW)
    found = {} if values is None else {"values": ("A value for each input", values)}
    row, outputs = row_example(metadata, _RAW), names_of_rows(metadata.outputs)
    if row is not None and outputs and OUTPUTS not in taken:
        columns = {name: [value] * 2 for name, value in row.items()}
        asked = {OUTPUTS: outputs}
        found[ROWS] = "A record for each row", {ROWS: [row] * 2} | asked
        found[COLUMNS] = "A list by input", {COLUMNS: columns} | asked
    return {
        form: {"summary": summary, "value": value}
        for form, (summary, value) in found.items()
        if form not in taken
    }


def _schema(metadata: ModelMetadata) -> Json:
    values = {tensor.name: _value(tensor) for tensor in metadata.inputs}
    beside = {"id": _ID, "parameters": _PARAMETERS, OUTPUTS: _OUTPUTS}
    columns = {name: {"type": "array"} for name in values}
    record = {"type": "object", "properties": values, "additionalProperties": False}
    table = {"type": "object", "properties": columns, "additionalProperties": False}
    forms = [
        beside | values,
        beside | {ROWS: {"type": "array", "items": record}},
        beside | {COLUMNS: table},
    ]
    needed = [list(values), [ROWS], [COLUMNS]]
    return {
        "anyOf": [
            {
                "type": "object",
                "required": names,
                "properties": properties,
                "additionalProperties": False,
            }
            for names, properties in zip(needed, forms, strict=True)
        ]
    }


def _value(tensor: TensorMetadata) -> Json:
    schema = plain_schema(tensor)
    if tensor.content == "raw":
        return schema | {"description": f"{schema['description']}, each element in Base64"}
    if tensor.content == "image":
        return schema | {
            "description": f"{schema['description']}, or a PNG or JPEG in Base64",
            "anyOf": [*schema["anyOf"], {"type": "string", "contentEncoding": "base64"}],
        }
    return schema


def _form_schema(metadata: ModelMetadata) -> Json:
    fields = {tensor.name: _field(tensor) for tensor in metadata.inputs}
    beside = {"id": _ID, "parameters": _PARAMETERS, OUTPUTS: _OUTPUTS}
    return {"type": "object", "required": list(fields), "properties": beside | fields}


def _field(tensor: TensorMetadata) -> Json:
    if tensor.content in ("raw", "image"):
        return _FILE
    kind = "the text" if tensor.datatype == "BYTES" else "JSON"
    return {"type": "string", "description": f"{tensor.datatype}{list(tensor.shape)}: {kind}"}
