"""The OpenAPI description of OpenAI's endpoints, as far as a graph can answer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from anabranch.router.http.doors.places import openai_base
from anabranch.router.http.openapi import json_content
from anabranch.router.inference.contract import ModelMetadata

Json: TypeAlias = dict[str, Any]

_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MESSAGES = [{"role": "user", "content": "Hello"}]
_COMMON: Json = {
    "model": {"type": "string", "description": "The graph; it may be left out here."},
    "stream": {"type": "boolean", "description": "Answer with server-sent events."},
    "n": {"type": "integer", "minimum": 1, "maximum": 128},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "max_tokens": {"type": "integer", "minimum": 0},
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}


def paths(metadata: ModelMetadata) -> Mapping[str, Any]:
    """Return the paths that suit the graph's inputs: chat, or completions and embeddings."""
    base = f"{openai_base(metadata.name)}/v1"
    found: Json = {}
    if any(one.name == "messages" and one.datatype == "BYTES" for one in metadata.inputs):
        found[f"{base}/chat/completions"] = _endpoint(
            metadata, "Chat, as OpenAI's API has it.", {"messages": _MESSAGES}, _COMMON
        )
        return found
    if sum(one.datatype == "BYTES" for one in metadata.inputs) != 1:
        return found
    if any(one.datatype.startswith(("FP", "BF")) for one in metadata.outputs):
        found[f"{base}/embeddings"] = _endpoint(
            metadata, "Embeddings, as OpenAI's API has them.", {"input": ["Hello"]}, {}
        )
    else:
        found[f"{base}/completions"] = _endpoint(
            metadata, "Completions, as OpenAI's API has them.", {"prompt": "Hello"}, _COMMON
        )
    return found


def _endpoint(metadata: ModelMetadata, summary: str, example: Json, fields: Json) -> Json:
    schema = {
        "type": "object",
        "required": list(example),
        "properties": {**{name: {} for name in example}, **fields},
        "example": {"model": metadata.name, **example},
    }
    return {
        "post": {
            "tags": ["openai"],
            "summary": summary,
            "requestBody": {"required": True, "content": json_content(schema)},
            "responses": {
                "200": {
                    "description": "The answer; server-sent events where a stream is asked for.",
                    "content": json_content({"type": "object"}),
                },
                "default": {"description": "An error.", "content": json_content(_ERROR)},
            },
        }
    }
