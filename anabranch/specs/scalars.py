"""Meaning of a plain scalar: the core schema of YAML 1.2, stricter about leading zeros.

``yes``, ``on``, ``010``, ``1_000`` and ``2024-01-01`` are the strings they look like.
"""

from __future__ import annotations

import re

MAX_DIGITS = 64
"""Longest integer, in characters."""

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMERIC_START = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve(text: str) -> Scalar:
    """The value of a plain scalar; ValueError if it is an integer of too many digits."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _INTEGER.fullmatch(text):
        return int(_short(text))
    if _BASED.fullmatch(text):
        return int(_short(text), 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _short(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"has {len(text)} digits; at most {MAX_DIGITS} are allowed")
    return text
