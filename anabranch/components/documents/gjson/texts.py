"""Texts within GJSON paths: brackets, escapes, patterns and JSON."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

Value: TypeAlias = Any
"""A JSON value, of Python's types; MISSING."""
MISSING: Final = object()
"""What is at a path of nothing."""
SPACE = "".join(map(chr, range(33)))
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[({]|[\])}]', re.DOTALL)
_VALID = re.compile(r'(?:[^\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.")


def value_like(text: str) -> Value:
    """Return the value of a text that need not be JSON; by its first character it may be one."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return "" if text.lstrip(SPACE)[:1] in tuple('{["+-0123456789iINntf') else MISSING


def balanced(text: str, start: int, depth: int) -> str:
    """Return ``text`` up to the bracket, or the quoted text, after which no bracket is open.

    Reading begins at ``start``, where ``depth`` brackets are open.
    """
    for token in _TOKEN.finditer(text, start):
        depth += 1 if token[0] in "[({" else -1 if token[0] in "])}" else 0
        if depth == 0:
            return text[: token.end()]
    return text


def squashed(text: str) -> str:
    """Return the quoted text, or the text in brackets, that ``text`` begins with."""
    return balanced(text, 0, 0) if text[0] == '"' else balanced(text, 1, 1)


def unescaped(text: str) -> str:
    """Return a quoted text without its escapes, up to the first one that JSON does not know."""
    found = _VALID.match(text)
    known = found[0] if found else ""
    return _ESCAPES.sub(lambda escape: orjson.loads(f'"{escape[0]}"'), known)


def matches(text: str, pattern: str) -> bool:
    r"""Return whether a pattern with ``*``, ``?`` and ``\`` before them is that of a text.

    It takes time in proportion to the length of the text, for each ``*``.
    """
    expression = _expression(pattern)
    return expression is not None and expression.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str] | None:
    pieces, at = [""], 0
    while at < len(pattern):
        if pattern[at] == "*":
            pieces.append("")
        elif pattern[at] == "?":
            pieces[-1] += "."
        else:
            at += pattern[at] == "\\"
            if at == len(pattern):
                return None
            pieces[-1] += re.escape(pattern[at])
        at += 1
    # What the first place of a piece leaves is the most that is left for the pieces behind it.
    first, *others = pieces
    for piece in others[:-1]:
        first += f"(?>.*?{piece})"
    return re.compile(first + "".join(f".*{piece}" for piece in others[-1:]), re.DOTALL)
