"""The language as JSON Schema, for editors and other tools.

It says what the models say; rules over several fields and over the whole graph are the compiler's.
"""

from __future__ import annotations

from typing import Any

from anabranch.specs.models import InferenceGraph

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a whole document, as written in YAML."""
    schema = InferenceGraph.model_json_schema(by_alias=True, mode="validation")
    _close(schema)
    title = {"$schema": DIALECT, "title": "anabranch inference graph"}
    return title | {key: value for key, value in schema.items() if key != "title"}


def _close(schema: Any) -> None:
    """Refuse keys that no pattern allows; and drop titles, which only repeat the field's name."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)
