"""The language as JSON Schema, for editors and other tools.

It says what the models say; rules over several fields and over the whole graph are the compiler's.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from anabranch.specs.models import InferenceGraph
from anabranch.specs.shared.document import KIND, SharedModelDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a whole document in YAML: a graph, or a shared model."""
    kinds: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (InferenceGraph, "validation"),
        (SharedModelDocument, "validation"),
    ]
    _, schema = models_json_schema(kinds, by_alias=True)
    _close(schema)
    return {
        "$schema": DIALECT,
        "title": "anabranch inference graph or shared model",
        "if": {"properties": {"kind": {"const": KIND}}, "required": ["kind"]},
        "then": {"$ref": f"#/$defs/{SharedModelDocument.__name__}"},
        "else": {"$ref": f"#/$defs/{InferenceGraph.__name__}"},
        "$defs": schema["$defs"],
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of documents of one kind, by the model that checks them."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    _close(schema)
    return {"$schema": DIALECT, **schema}


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
