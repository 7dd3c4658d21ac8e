"""Modifiers of GJSON, ``@name:argument``: their text, and functions of values."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from anabranch.components.documents.gjson.texts import (
    MISSING,
    Value,
    squashed,
    value_like,
)

MAX_ELEMENTS = 2**20
"""Most elements of an array that `@flatten` makes; selectors may name one many times."""
_NAME = re.compile(r"[^:.|]*")


def read_modifier(path: str) -> tuple[str, str, str] | None:
    """Return name, argument and remaining path of the modifier that a path begins with.

    None where it begins with none: a name that is not known is that of a field.
    """
    name = modifier_name(path)
    if name is None:
        return None
    rest = path[len(name) + 1 :]
    if rest[:1] != ":":
        return name, "", rest
    argument = _argument(rest[1:])
    return name, argument, rest[1 + len(argument) :]


def modifier_name(path: str) -> str | None:
    """Return the name of the modifier that a path begins with; None where it begins with none."""
    found = _NAME.match(path, 1) if path.startswith("@") else None
    return found[0] if found and found[0] in NAMES else None


def _argument(text: str) -> str:
    if text[:1] in ("{", "[", '"'):
        return squashed(text)
    at = 0
    while at < len(text) and text[at] != "|":
        at += len(squashed(text[at:])) if text[at] in '{["(' else 1
    return text[:at]


def _same(value: Value, _argument: str) -> Value:
    return value


def _reverse(value: Value, _argument: str) -> Value:
    if isinstance(value, dict):
        return dict(reversed(value.items()))
    return value[::-1] if isinstance(value, list) else value


def _flatten(value: Value, argument: str) -> Value:
    if not isinstance(value, list):
        return value
    is_deep = _is_set(argument, "deep")
    found: list[Value] = []
    waiting = value[::-1]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, list):
            found.append(item)
        elif is_deep:
            waiting += reversed(item)
        else:
            found += item
        if len(found) > MAX_ELEMENTS:
            raise ValueError(f"a GJSON path makes at most {MAX_ELEMENTS} elements by `@flatten`")
    return found


def _keys(value: Value, _argument: str) -> Value:
    if isinstance(value, dict):
        return list(value)
    return [None for _ in _values(value, "")]


def _values(value: Value, _argument: str) -> Value:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    return [] if value is MISSING else [value]


def _join(value: Value, argument: str) -> Value:
    if not isinstance(value, list):
        return value
    keeps_first = _is_set(argument, "preserve")
    joined: dict[str, Value] = {}
    for item in value:
        fields = item if isinstance(item, dict) else {}
        for key, one in fields.items():
            if not (keeps_first and key in joined):
                joined[key] = one
    return joined


def _from_text(value: Value, _argument: str) -> Value:
    if isinstance(value, str):
        return value_like(value)
    return MISSING if value is None else value


def _to_text(value: Value, _argument: str) -> Value:
    return "" if value is MISSING else orjson.dumps(value).decode()


def _group(value: Value, _argument: str) -> Value:
    if not isinstance(value, dict):
        return MISSING
    columns = [(key, items) for key, items in value.items() if isinstance(items, list)]
    rows: list[Value] = [{} for _ in range(max((len(items) for _, items in columns), default=0))]
    for key, items in columns:
        for row, item in zip(rows, items, strict=False):
            row[key] = item
    return rows


def _is_set(argument: str, flag: str) -> bool:
    options = value_like(argument)
    given = options.get(flag) if isinstance(options, dict) else None
    if isinstance(given, str):
        return given.lower() in ("1", "t", "true")
    return isinstance(given, int | float) and given != 0


MODIFIERS: dict[str, Callable[[Value, str], Value]] = {
    "flatten": _flatten,
    "fromstr": _from_text,
    "group": _group,
    "join": _join,
    "keys": _keys,
    "pretty": _same,
    "reverse": _reverse,
    "this": _same,
    "tostr": _to_text,
    "ugly": _same,
    "valid": _same,
    "values": _values,
}
"""Functions of a value and the argument, by name, but for that which takes a path."""
DIG = "dig"
NAMES = {*MODIFIERS, DIG}
