"""The language in sections: every model and field, from the JSON Schema that editors use.

Examples of fields come from the graphs in ``docs/reference/graphs``. A field keeps the version that
the page has for it; a new one gets the version of today.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from anabranch.graph.compile.loading import load_text
from anabranch.reference.markdown import code, plain, table
from anabranch.specs.loader import parse
from anabranch.specs.models import NODE_TYPES, NodeBase
from anabranch.specs.schema import json_schema
from anabranch.specs.shared.document import SharedModelDocument, is_model
from anabranch.specs.units import Duration, Percentage, Size

ROOTS = ("InferenceGraph", "SharedModelDocument")
"""The documents."""
NODE = "Node"
_EVERY_NODE = "Fields of nodes of every type."
_HEAD = ("field", "meaning", "type", "default", "limits", "example", "since")
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
}
_NOT_EMPTY = {(f"min{what}", 1) for what in ("Length", "Items", "Properties")}
_UNITS = {
    TypeAdapter(kind).json_schema()["pattern"]: kind.__name__.lower()
    for kind in (Duration, Percentage, Size)
}
"""Patterns of texts that are a number with a unit, and the name of the quantity."""

Schema = Mapping[str, Any]
Examples = Mapping[tuple[str, str], Any]


def sections(docs: Path) -> str:
    """Return a section for each model, the whole document first."""
    page = (docs / "reference" / "language.md").read_text()
    found, since = examples(docs / "reference" / "graphs"), _since(page)
    return "\n\n".join(_section(name, model, found, since) for name, model in models().items())


def models() -> dict[str, Schema]:
    """Return the JSON Schema of each model by its name, in the order in which they are met.

    The fields that nodes of every type have alike are those of one more model, ``Node``.
    """
    order: dict[str, None] = {}
    for root in ROOTS:
        order[root] = None
        for name in _met(root, order):
            order[name] = None
    found = {name: _all_models()[name] for name in order}
    types = [cls.__name__ for cls in NODE_TYPES.values()]
    alike = _alike([found[name]["properties"] for name in types])
    own = {name: {**found[name], "properties": _without(found[name], alike)} for name in types}
    return _before(types[0], {NODE: {"description": _EVERY_NODE, "properties": alike}}, found | own)


def _alike(properties: list[Schema]) -> dict[str, Any]:
    first, *rest = properties
    return {
        name: schema
        for name, schema in first.items()
        if all(one.get(name) == schema for one in rest)
    }


def _without(model: Schema, alike: Schema) -> dict[str, Any]:
    return {name: one for name, one in model["properties"].items() if name not in alike}


def _before(
    name: str, more: Mapping[str, Schema], found: Mapping[str, Schema]
) -> dict[str, Schema]:
    """Return a map with more entries before one of its own."""
    place = list(found).index(name)
    pairs = list(found.items())
    return dict([*pairs[:place], *more.items(), *pairs[place:]])


@cache
def _all_models() -> dict[str, Schema]:
    kinds = json_schema()["$defs"]
    return {name: one for name, one in kinds.items() if "properties" in one}


def _met(name: str, seen: dict[str, None]) -> Iterator[str]:
    inner = [one for one in _references(_all_models()[name]["properties"]) if one not in seen]
    for one in dict.fromkeys(inner):
        seen[one] = None
        yield one
    for one in dict.fromkeys(inner):
        yield from _met(one, seen)


def _references(schema: Any) -> Iterator[str]:
    """Yield the models that a schema refers to."""
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)
    elif isinstance(schema, Mapping):
        name = _name(schema.get("$ref", ""))
        if name in _all_models():
            yield name
        for key, one in schema.items():
            if key != "discriminator":
                yield from _references(one)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _section(name: str, model: Schema, found: Examples, since: Examples) -> str:
    required = model.get("required", ())
    rows = [
        _row(name, field, schema, field in required, found, since)
        for field, schema in model["properties"].items()
    ]
    return f"## {name}\n\n{plain(model.get('description', ''))}\n\n{table(_HEAD, rows)}"


def _row(
    model: str, field: str, schema: Schema, required: bool, found: Examples, since: Examples
) -> list[str]:
    default = "required" if required else _default(schema)
    return [
        code(field),
        _meaning(schema),
        _type(schema),
        default,
        "; ".join(dict.fromkeys(_limits(schema))),
        _example(schema, found.get((model, field))),
        since.get((model, field), version("anabranch")),
    ]


def _meaning(schema: Schema) -> str:
    """Return what is said of a field, or else of the model that it holds."""
    inner = (_all_models()[name].get("description", "") for name in _references(schema))
    return plain(schema.get("description") or next(inner, ""))


def _default(schema: Schema) -> str:
    value = schema.get("default")
    return "" if value in (None, {}, []) else code(_flow(value))


def _type(schema: Schema) -> str:
    """Return what a value may be, in words, with links to the sections of models."""
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return f"[{name}](#{name.lower()})" if name in _all_models() else "any value"
    if "const" in schema:
        return code(_flow(schema["const"]))
    if "enum" in schema:
        return "one of " + ", ".join(code(_flow(one)) for one in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            kinds = [_type(one) for one in schema[union] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    return _plain_type(schema)


def _plain_type(schema: Schema) -> str:
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            return f"map of name: {_type(_entries(schema))}"
        case "integer":
            return "whole number"
        case "boolean":
            return "true or false"
        case "string":
            return _UNITS.get(schema.get("pattern", ""), "text")
        case "number":
            return "number"
    return "any value"


def _entries(schema: Schema) -> Schema:
    """Return the schema of the values of a map."""
    patterns: Mapping[str, Schema] = schema.get("patternProperties", {})
    found: Any = next(iter(patterns.values()), None) or schema.get("additionalProperties")
    return found if isinstance(found, Mapping) else {}


def _limits(schema: Any) -> Iterator[str]:
    """Yield the limits of a value, and those of values inside it."""
    for key, text in _LIMITS.items():
        if key in schema:
            yield "not empty" if (key, schema[key]) in _NOT_EMPTY else text.format(schema[key])
    if schema.get("pattern", "") not in ("", *_UNITS):
        yield code(schema["pattern"])
    for pattern in schema.get("patternProperties", ()):
        yield f"names {code(pattern)}"
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), _entries(schema)]
    for one in [*inner, schema.get("items")]:
        if one:
            yield from _limits(one)


def _example(schema: Schema, value: Any) -> str:
    """Return an example of a field on one line; a model's fields have examples of their own."""
    return "" if value is None or any(True for _ in _references(schema)) else code(_flow(value))


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    match value:
        case str():
            return value if re.fullmatch(r"[\w./%-][\w ./%:@=-]*", value) else json.dumps(value)
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
        case float() if value.is_integer():
            return str(int(value))
    return json.dumps(value)


def examples(folder: Path) -> dict[tuple[str, str], Any]:
    """Return the first value of each (model, field) in the graphs of a folder.

    Raise SpecError for a graph that does not compile, where ``folder`` holds its files.
    """
    found: dict[tuple[str, str], Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text()
        graph, data = load_text(text, path.name, folder).graph, parse(text).data
        document = SharedModelDocument.model_validate(data) if is_model(data) else graph
        for key, value in _values(document):
            found.setdefault(key, value)
    return found


def _values(value: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    match value:
        case BaseModel():
            given = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
            kinds = [type(value).__name__, *([NODE] if isinstance(value, NodeBase) else [])]
            yield from (((kind, field), one) for kind in kinds for field, one in given.items())
            for name in type(value).model_fields:  # in their order, unlike the set of those given
                if name in value.model_fields_set:
                    yield from _values(getattr(value, name))
        case dict():
            for one in value.values():
                yield from _values(one)
        case list() | tuple():
            for one in value:
                yield from _values(one)


_SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_SINCE = re.compile(r"^\| `(\w+)` \|.* \| (\d+\.\d+\.\d+) \|$", re.MULTILINE)


def _since(page: str) -> dict[tuple[str, str], str]:
    """Return the version that a page has for each (model, field)."""
    return {
        (model, field): number
        for model, text in _SECTION.findall(page)
        for field, number in _SINCE.findall(text)
    }
