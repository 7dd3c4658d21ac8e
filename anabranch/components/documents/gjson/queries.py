"""Queries of GJSON, ``#(path operator value)``: their text, and what they hold of a value."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anabranch.components.documents.gjson.texts import MISSING, SPACE, Value, matches, unescaped

_OPERATOR = re.compile(r"!=|!%|<=|>=|==|[<>=%]|!\Z")
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity)|nan", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]?0x(?:[\da-f]+\.?[\da-f]*|\.[\da-f]+)p[+-]?\d{1,4}", re.IGNORECASE)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_ORDERS = _ORDERS | {
    "%": matches,
    "!%": lambda text, pattern: not matches(text, pattern),
}
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


@dataclass(frozen=True, slots=True)
class Query:
    """A query: the path below each element, and what must hold of the value there."""

    path: str = ""
    operator: str = ""
    """Empty where the value need only exist."""
    wanted: str = ""
    takes_all: bool = False


def read_query(text: str) -> tuple[Query, int] | None:
    """Return the query that ``text`` begins with, and where it ends; None if it never ends."""
    begin, depth, at, escaped = 0, 1, 2, False
    while at < len(text) and depth:
        char = text[at]
        if depth == 1 and not begin and char in "!=<>%":
            begin = at
        elif char == "\\":
            at += 1
        elif char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
        elif char == '"':
            at, has_escape = _closing(text, at)
            escaped = escaped or has_escape
        at += 1
    if depth:
        return None
    inner = text[: at - 1]
    takes_all = text[at : at + 1] == "#"
    if not begin:
        return Query(inner[2:].strip(SPACE), takes_all=takes_all), at
    comparison = _comparison(inner[begin:].strip(SPACE), escaped)
    return Query(inner[2:begin].strip(SPACE), *comparison, takes_all), at


def holds(query: Query, value: Value) -> bool:
    """Return whether a query holds of the value at its path."""
    wanted = query.wanted
    if wanted.startswith("~"):
        value, wanted = _truth(value, wanted[1:]), "true"
    if value is MISSING or not query.operator:
        return value is not MISSING
    if isinstance(value, bool):
        return _bool_holds(query.operator, value, wanted)
    if isinstance(value, str):
        return _TEXT_ORDERS.get(query.operator, _never)(value, wanted)
    if isinstance(value, int | float):
        return _ORDERS.get(query.operator, _never)(float(value), _number(wanted))
    return False


def _closing(text: str, at: int) -> tuple[int, bool]:
    """Return where the quoted text ends that begins at ``at``, and whether it has escapes."""
    escaped, at = False, at + 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            escaped, at = True, at + 1
        at += 1
    return at, escaped


def _comparison(text: str, escaped: bool) -> tuple[str, str]:
    found = _OPERATOR.match(text)
    name = found[0] if found else ""
    wanted = text[len(name) :].strip(SPACE)
    if len(wanted) >= 2 and wanted[0] == wanted[-1] == '"':
        wanted = unescaped(wanted[1:-1]) if escaped else wanted[1:-1]
    return ("=" if name == "==" else name), wanted


def _truth(value: Value, name: str) -> Value:
    """Return whether a value is what ``~name`` calls so; MISSING for names that there are not."""
    match name:
        case "*":
            return value is not MISSING
        case "null":
            return value is None or value is MISSING
        case "true":
            return _is_true(value)
        case "false":
            return _is_false(value)
    return MISSING


def _is_true(value: Value) -> bool:
    if isinstance(value, str):
        return value.lower() in _TRUE
    return isinstance(value, int | float) and value != 0


def _is_false(value: Value) -> bool:
    if isinstance(value, str):
        return value.lower() in _FALSE
    return value is None or value is MISSING or (isinstance(value, int | float) and value == 0)


def _bool_holds(name: str, value: bool, wanted: str) -> bool:
    if name in ("=", "!="):
        return (wanted == str(value).lower()) is (name == "=")
    if name in (">=", "<="):
        return value is (name == ">=")
    return name == (">" if value else "<") and wanted == str(not value).lower()


def _number(text: str) -> float:
    """Return a number as Go reads it; 0 for what is none."""
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return float.fromhex(text) if _HEXADECIMAL.fullmatch(text) else 0.0
    except OverflowError:
        return float("-inf" if text.startswith("-") else "inf")


def _never(_value: Any, _wanted: Any) -> bool:
    return False
