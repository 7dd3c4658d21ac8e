"""The paths of Seldon's protocol in a graph's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.router.http.openapi import json_content, nested, operation, request_example
from anabranch.router.inference.contract import ModelMetadata

_TAG = "Seldon Core v1"
_META = {
    "type": "object",
    "properties": {
        "puid": {"type": "string", "maxLength": 1024},
        "tags": {"type": "object"},
        "routing": {"type": "object", "additionalProperties": {"type": "integer"}},
        "requestPath": {"type": "object", "additionalProperties": {"type": "string"}},
        "metrics": {"type": "array", "items": {"type": "object"}},
    },
}
_STATUS = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "info": {"type": "string"},
        "reason": {"type": "string"},
        "status": {"enum": ["SUCCESS", "FAILURE"]},
    },
}
_TENSOR = {
    "type": "object",
    "required": ["shape", "values"],
    "properties": {
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "values": {"type": "array"},
    },
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "status": _STATUS,
        "meta": _META,
        "data": {
            "type": "object",
            "properties": {
                "names": {"type": "array", "items": {"type": "string"}},
                "ndarray": {"type": "array"},
                "tensor": _TENSOR,
            },
        },
        "strData": {"type": "string"},
        "binData": {"type": "string", "contentEncoding": "base64"},
        "jsonData": {},
    },
}
_FEEDBACK = {
    "type": "object",
    "required": ["response"],
    "properties": {
        "request": _MESSAGE, "response": _MESSAGE, "reward": {"type": "number"}, "truth": _MESSAGE,
    },
}  # fmt: skip


def paths(metadata: ModelMetadata, place: str, feedback: bool) -> Mapping[str, Any]:
    """Return the paths below ``place``; ``feedback`` says whether rewards are taken."""
    api = f"{place}/api/v1.0"
    predict = _post("seldon_predictions", "A prediction", _MESSAGE, message_example(metadata))
    give = _post("seldon_feedback", "A reward for a prediction", _FEEDBACK, None)
    return {
        f"{api}/predictions": {"post": predict},
        **({f"{api}/feedback": {"post": give}} if feedback else {}),
        f"{api}/metadata": {"get": _get("seldon_metadata", "Inputs and outputs of the graph")},
        f"{place}/ready": {"get": _get("seldon_ready", "Whether the graph answers")},
    }


def message_example(metadata: ModelMetadata) -> dict[str, Any] | None:
    """Return a message that the graph takes, of zeros; None where it would be too large."""
    found = request_example(metadata.inputs)
    if found is None:
        return None
    inputs = found["inputs"]
    if len(inputs) > 1:
        return {"jsonData": {one["name"]: nested(one["data"], one["shape"]) for one in inputs}}
    (only,) = inputs
    if only["datatype"] != "BYTES" and only["shape"]:
        return {"data": {"ndarray": nested(only["data"], only["shape"])}}
    if only["datatype"] != "BYTES":
        return {"data": {"tensor": {"shape": [], "values": only["data"]}}}
    if len(only["data"]) == 1:
        return {"strData": only["data"][0]}
    return {"data": {"ndarray": nested(only["data"], only["shape"])}}


def _post(name: str, summary: str, body: Any, example: Any) -> dict[str, Any]:
    content = json_content(body, example=example)
    answers = {
        "200": {"description": summary, "content": json_content(_MESSAGE)},
        "default": {
            "description": "What was wrong, in `status`",
            "content": json_content(_MESSAGE),
        },
    }
    return operation(_TAG, name, summary, answers, content)


def _get(name: str, summary: str) -> dict[str, Any]:
    answers = {"200": {"description": summary}, "503": {"description": "Not ready"}}
    return operation(_TAG, name, summary, answers)
