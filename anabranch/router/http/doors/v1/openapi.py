"""The V1 protocol in a graph's OpenAPI document, with examples of requests that work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from anabranch.router.http.doors.places import V1
from anabranch.router.http.doors.row_examples import has_rows, row_example
from anabranch.router.http.openapi import json_content, operation, plain_examples, responses
from anabranch.router.inference.contract import ModelMetadata

Json: TypeAlias = dict[str, Any]
_RAW = {"b64": "dGV4dA=="}
_TAG = "V1 protocol (KServe, TensorFlow Serving)"
_REQUEST: Json = {
    "type": "object",
    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    "properties": {
        "instances": {
            "type": "array",
            "description": "A value of the only input for each row, or an object by input.",
        },
        "inputs": {"description": "The value of the only input, or an object by input."},
        "signature_name": {"enum": ["", "serving_default"]},
        "parameters": {"$ref": "#/components/schemas/Parameters"},
    },
}
_OBJECT = json_content({"type": "object"})


def paths_of(metadata: ModelMetadata, explainers: Sequence[str]) -> Json:
    """Return the paths of the graph that the metadata describe, with these explainers."""
    root = f"{V1}{metadata.name}"
    explain = (
        {} if not explainers else {f"{root}:explain": {"post": _explain(metadata, explainers)}}
    )
    return {
        root: {"get": _get("v1_state", "Whether the graph is ready, and its versions")},
        f"{root}/metadata": {"get": _get("v1_metadata", "Types of the inputs and outputs")},
        f"{root}:predict": {"post": _predict(metadata)},
        **explain,
    }


def _get(name: str, summary: str) -> Json:
    return operation(_TAG, name, summary, responses(summary, _OBJECT))


def _predict(metadata: ModelMetadata) -> Json:
    summary = "Inference; `instances` get `predictions`, `inputs` get `outputs`"
    body = json_content(_REQUEST, examples=_examples(metadata))
    return operation(_TAG, "v1_predict", summary, responses("The outputs", _OBJECT), body)


def _explain(metadata: ModelMetadata, explainers: Sequence[str]) -> Json:
    examples = _examples(metadata, {"parameters": {"explainer": explainers[0]}})
    return operation(
        _TAG,
        "v1_explain",
        "An explanation of the answer",
        responses("One explanation for each row, or one of the model", _OBJECT),
        json_content(_REQUEST, examples=examples),
    )


def _examples(metadata: ModelMetadata, beside: Json | None = None) -> Json:
    """Return examples, of rows only where all outputs are known to have rows."""
    found: Json = {}
    row, values = row_example(metadata, _RAW), plain_examples(metadata.inputs, _RAW)
    if row is not None and metadata.is_complete and all(map(has_rows, metadata.outputs)):
        instance = next(iter(row.values())) if len(row) == 1 else row
        rows = {"instances": [instance] * 2} | (beside or {})
        found["instances"] = {"summary": "Row format", "value": rows}
    if values is not None:
        columns = {"inputs": values} | (beside or {})
        found["inputs"] = {"summary": "Column format", "value": columns}
    return found
