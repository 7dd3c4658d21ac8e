"""Says what a model refused in the words of the language.

The models speak of Python types and of union arms; a person who writes YAML knows maps, lists and
text, and where they stand.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from anabranch.errors import FieldPath, Mistake
from anabranch.names import GRAPH_NAME
from anabranch.specs import models
from anabranch.specs.excerpts import as_written, did_you_mean, in_words, nearest, quoted

DATATYPES: tuple[str, ...] = get_args(models.Datatype)
_OPEN_INFERENCE = frozenset({"v2", "oip", "rest", "http", "grpc", "open-inference"})
_OF_FIELDS = frozenset({"dict_type", "model_type", "model_attributes_type"})
_TAGS = frozenset({models.TEXT, models.NUMBER, models.LIST, models.MAP})
_UNKNOWN_TYPE = frozenset({"union_tag_invalid", "union_tag_not_found"})
_PLAIN_NAME = (
    "at most 63 lower-case letters, digits and dashes, starting with a letter and not ending in a "
    "dash"
)
_NAMES = {
    GRAPH_NAME: f"a graph's name: {_PLAIN_NAME}; a namespace and a slash may come before it",
    models.POOL_NAME: f"a pool's name: {_PLAIN_NAME}",
    models.NODE_NAME: "a node's name: at most 63 letters, digits, - and _, "
    "starting with a letter or _",
    models.TENSOR_NAME: "a tensor's name: at most 127 letters, digits, -, _, : and /, "
    "starting with a letter or _",
    models.PARAMETER_NAME: "a parameter's name: at most 127 letters, digits and _, "
    "starting with a letter or _",
    models.VARIABLE: "a variable's name: at most 255 letters, digits and _, and no digit first",
    models.RESOURCE_NAME: "a resource's name: at most 63 letters, digits, -, _ and ., the first "
    "a letter, digit or _",
    models.LABEL_KEY: "a label's key, such as ray.io/accelerator-type",
    models.LABEL_SELECTOR: "a label's value, or `!value`, `in(a, b)` or `!in(a, b)`",
    models.MACHINE: "a machine's name, its address, or its id in Ray",
    models.SECRET_FILE: "an absolute path, such as /run/secrets/token",
    models.KUBERNETES_NAME: "a Kubernetes secret's name: lower-case letters, digits, - and .",
    models.KUBERNETES_KEY: "a key of a Kubernetes secret: letters, digits, -, _ and .",
    models.SHA256: "a SHA-256 digest: 64 digits out of 0-9a-f",
    models.HEADER_NAME: "a header's name: at most 64 letters, digits and dashes",
    models.SYMBOL: "a symbol of a size: at most 63 letters, digits and _, and no digit first",
    models.LIMIT: "a number, a duration such as 250ms, or a multiple of stable such as 1.2x",
    models.TARGET: "a target of traffic: stable, candidate, or a revision such as r7",
    models.URL: "an http:// or https:// URL without user, password and fragment",
    models.LOG_SINK: "`file`, an http:// or https:// URL, or kafka://host:port/topic",
}
_EXAMPLES = {
    "batching": "{max_size: 32}",
    "cache": "{ttl: 10m}",
    "inputs": "{x: fruit}",
    "metadata": "{name: shop}",
    "resources": "{cpu: 1}",
    "scaling": "{replicas: 2}",
}
"""What to write in fields that have fields of their own, where something else is written."""
ALL_FIELDS = sorted({name for node in models.NODE_TYPES.values() for name in node.model_fields})


def mistakes(model: type[BaseModel], data: Any) -> list[Mistake]:
    """Everything that ``model`` refuses in ``data``, in no particular order; [] if it is valid."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return list(explain(error, model, data))
    return []


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> Iterator[Mistake]:
    """The mistakes in ``error``, which came of validating ``data`` as ``model``.

    A required field that was only misspelt is reported once, as an unknown field.
    """
    items = error.errors(include_url=False)
    unknown: dict[FieldPath, list[str]] = {}
    for item in items:
        if item["type"] == "extra_forbidden":
            unknown.setdefault(item["loc"][:-1], []).append(str(item["loc"][-1]))
    for item in items:
        kind, loc, value = item["type"], item["loc"], item["input"]
        if kind == "missing" and nearest(str(loc[-1]), unknown.get(loc[:-1], ())):
            continue
        path = _path(loc, data)
        if kind in _UNKNOWN_TYPE:
            yield from _unknown_type(path, value)
        elif kind == "extra_forbidden":
            yield path, f"unknown field{did_you_mean(str(path[-1]), fields_at(model, loc[:-1]))}"
        else:
            say = _MESSAGES.get(kind, _otherwise)
            yield path, say(item.get("ctx", {}), value, item["msg"]) + _example(kind, path)


def guess_type(node: Mapping[str, Any]) -> str | None:
    """The type of a node as data, or what its type was most likely meant to be."""
    written = node.get("type")
    if written is None:
        misspelt = nearest("type", [key for key in node if key not in ALL_FIELDS])
        written = node.get(misspelt) if misspelt else None
    return nearest(written, models.NODE_TYPES) if isinstance(written, str) else None


def fields_at(model: type[BaseModel], loc: FieldPath) -> list[str]:
    """The fields that may stand at ``loc``, as they are written."""
    found = {
        info.alias or name
        for kind in _kinds_at(model, loc)
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name, info in kind.model_fields.items()
    }
    return sorted(found)


def _example(kind: str, path: FieldPath) -> str:
    """Return what to write in a field that has fields of its own."""
    field = path[-1] if path else None
    if kind not in _OF_FIELDS or field not in _EXAMPLES:
        return ""
    example = "{x: {datatype: FP32, shape: [-1, 4]}}" if path == ("spec", "inputs") else None
    return f"; write `{field}: {example or _EXAMPLES[str(field)]}`"


def _unknown_type(path: FieldPath, node: Any) -> Iterator[Mistake]:
    """A node whose type is missing or unknown; its fields are judged by the type it likely is."""
    written = node.get("type") if isinstance(node, Mapping) else None
    likely = guess_type(node) if isinstance(node, Mapping) else None
    if written is None and likely is None:
        yield path, f"needs a `type`: {', '.join(models.NODE_TYPES)}"
    elif written is None:
        pass  # misspelt; reported as an unknown field
    elif isinstance(written, str):
        meant = did_you_mean(written, list(models.NODE_TYPES))
        yield (*path, "type"), f"unknown node type {quoted(written)}{meant}"
    else:
        names = ", ".join(models.NODE_TYPES)
        yield (*path, "type"), f"must be one of {names}, not {in_words(written)}"
    if not isinstance(node, Mapping):
        return
    if likely is not None:
        for inner, message in mistakes(models.NODE_TYPES[likely], {**node, "type": likely}):
            yield (*path, *inner), message
        return
    for name in node:
        if name not in ALL_FIELDS:
            yield (*path, name), f"unknown field{did_you_mean(str(name), ['type', *ALL_FIELDS])}"


def _path(loc: FieldPath, data: Any) -> FieldPath:
    """``loc`` without what is no part of the spec: tags of union arms, and the mark of keys."""
    parts: list[str | int] = []
    for part in loc:
        if _is_tag(part, parts, data):
            continue
        parts.append(part)
        data = _child(data, part)
    return tuple(parts)


def _is_tag(part: str | int, before: list[str | int], data: Any) -> bool:
    if len(before) == 3 and before[:2] == ["spec", "nodes"] and part in models.NODE_TYPES:
        return bool(part == _child(data, "type"))
    inside = isinstance(data, Mapping) and part in data
    return not inside and (part in _TAGS or part == "[key]")


def _child(data: Any, part: str | int) -> Any:
    match data:
        case Mapping():
            return data.get(part)
        case list() | tuple() if isinstance(part, int) and part < len(data):
            return data[part]
        case BaseModel():
            return getattr(data, str(part), None)
    return None


def _kinds_at(model: type[BaseModel], loc: FieldPath) -> list[Any]:
    """The types that the language has at ``loc``; several in a union whose arm is not known."""
    kinds: list[Any] = [model]
    for part in loc:
        named = models.NODE_TYPES.get(str(part))
        if named in kinds:
            kinds = [named]
        elif part not in _TAGS:
            kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return kinds


def _inside(kind: Any, part: str | int) -> list[Any]:
    """The types of the field, value or item ``part`` of ``kind``."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {info.alias or name: info for name, info in kind.model_fields.items()}
        return _arms(fields[str(part)].annotation) if part in fields else []
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return _arms(arguments[1])
    return _arms(arguments[0]) if get_origin(kind) in (list, tuple) else []


def _arms(kind: Any) -> list[Any]:
    """The arms of a union, however deep; the type itself if it is none."""
    if get_origin(kind) is Annotated:
        return _arms(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [inner for arm in get_args(kind) for inner in _arms(arm)]
    return [kind]


def _literal(context: Any, value: Any, _: str) -> str:
    choices = re.findall(r"'([^']*)'", context["expected"])
    if choices == ["fail"]:
        choices.append("fields such as {use: other-node}")
    if choices == ["InferenceGraph"]:
        choices.append("Model")
    if not isinstance(value, str) or len(choices) <= 2:
        meant = nearest(value, choices) if isinstance(value, str) else None
        hint = f" (did you mean `{meant}`?)" if meant else ""
        return f"must be {' or '.join(choices)}, not {as_written(value)}{hint}"
    if choices == list(models.PROTOCOLS) and value.casefold() in _OPEN_INFERENCE:
        return f"{quoted(value)} is always on: it is the Open Inference Protocol; remove it"
    meant = nearest(value, choices)
    hint = f" (did you mean `{meant}`?)" if meant else ""
    return f"{quoted(value)} is not one of {', '.join(choices)}{hint}"


def _text(_: Any, value: Any, __: str) -> str:
    hint = "; put it in quotes" if isinstance(value, int | float) else ""
    return f"must be text, not {in_words(value)}{hint}"


def _pattern(context: Any, value: Any, _: str) -> str:
    pattern = context["pattern"]
    said = f"{as_written(value)} is not {_NAMES.get(pattern, 'of the right form')}"
    meant = _MEANT[pattern](value) if pattern in _MEANT else None
    return f"{said} (did you mean `{meant}`?)" if meant else said


def _plain_name(value: str) -> str | None:
    """Return a text as the name of a graph or a pool: in lower case, with dashes."""
    parts = [re.sub(r"[^a-z0-9]+", "-", part).strip("-") for part in value.lower().split("/")]
    name = "/".join(part.lstrip("0123456789-") for part in parts)
    return name if re.fullmatch(GRAPH_NAME, name) else None


_MEANT: dict[str, Callable[[str], str | None]] = {
    GRAPH_NAME: _plain_name,
    models.POOL_NAME: _plain_name,
    models.TARGET: lambda value: nearest(value, ("stable", "candidate")),
}
"""What a text of the wrong form most likely means, by the form."""


def _too_long(context: Any, value: Any, _: str) -> str:
    unit = "characters" if isinstance(value, str) else "items"
    return f"must have at most {context['max_length']} {unit}, not {len(value)}"


def _shape(_: Any, value: Any, message: str) -> str:
    return f"{message}, not {in_words(value)}"


def _fields(_: Any, value: Any, __: str) -> str:
    return f"expects fields, not {in_words(value)}"


def _otherwise(_: Any, value: Any, __: str) -> str:
    return f"{as_written(value)} is not allowed here"


Message = Callable[[Any, Any, str], str]


def _must_be(what: str) -> Message:
    return lambda context, value, _: f"must be {what.format(**context)}, not {in_words(value)}"


def _bound(what: str) -> Message:
    return lambda context, value, _: f"must be {what.format(**context)}, not {as_written(value)}"


def _number(what: str) -> Message:
    return lambda _, value, __: f"must be {what}, not {in_words(value)}{_as_number(value)}"


def _as_number(value: Any) -> str:
    """Return a hint on a number in quotes, or in the thousandths of Kubernetes."""
    if not isinstance(value, str):
        return ""
    if re.fullmatch(r"[0-9]{1,9}m", value):
        return f" (did you mean {int(value[:-1]) / 1000:g}?)"
    is_number = re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", value)
    return "; remove the quotes" if is_number else ""


def _fixed(message: str) -> Message:
    return lambda context, value, _: message


_MESSAGES: dict[str, Message] = {
    "missing": _fixed("is required"),
    "literal_error": _literal,
    "string_type": _text,
    "int_type": _number("a whole number"),
    "float_type": _number("a number"),
    "bool_type": _must_be("true or false"),
    "dict_type": _fields,
    "model_type": _fields,
    "model_attributes_type": _fields,
    "list_type": _must_be("a list"),
    "tuple_type": _must_be("a list"),
    "finite_number": _must_be("a finite number"),
    "greater_than_equal": _bound("at least {ge:g}"),
    "greater_than": _bound("more than {gt:g}"),
    "less_than_equal": _bound("at most {le:g}"),
    "too_short": _fixed("must not be empty"),
    "string_too_short": _fixed("must not be empty"),
    "string_too_long": _too_long,
    "too_long": _too_long,
    "string_pattern_mismatch": _pattern,
    "value_error": lambda context, value, _: str(context["error"]),
    "shape": _shape,
    "invalid-json-value": _must_be("text, a number, true, false, null, a list or a map"),
}
