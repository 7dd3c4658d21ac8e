"""What conditions ask of the texts of JSON documents: their values, and what is at a path.

Paths are those of GJSON (github.com/tidwall/gjson, SYNTAX.md), as ``pygjson`` evaluates them. What
exists is what GJSON calls so: ``null`` and ``false`` do, and ``a.#(x==1)#`` always does. A path
that would take more than linear time on a text of a client, or that ``pygjson`` reads otherwise
than GJSON, is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson
import pygjson

from anabranch.specs.excerpts import hint, shown

MAX_PATH = 1024
"""Longest GJSON path, in characters."""
MODIFIERS = ("flatten", "join", "pretty", "reverse", "this", "ugly", "valid")
"""The modifiers of GJSON that ``pygjson`` knows; all others it takes for names of fields."""
_ESCAPED = re.compile(r"\\.")
_QUOTED = re.compile(r'"[^"]*"')
_MODIFIER = re.compile(r"(?:^|[.|{\[,])@(\w+)")
_LITERAL = re.compile(r"(?:^|[.|{\[,:])!")
_PATTERN = re.compile(r'[^.|()\[\]{},"#\s=<>!%~]+')


def json_of(text: Any) -> Any:
    """Return the value of a JSON text as conditions read it; None where the text is no JSON."""
    _check_text(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def exists(text: Any, path: str) -> bool:
    """Return whether a JSON text has something at a GJSON path. False where it is no JSON.

    Raise ValueError for a path that is refused.
    """
    _check_text(text)
    compiled = _compiled(path)
    try:
        # What nests deeper than orjson reads would overrun the stack in the library.
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if isinstance(text, bytes):
        return pygjson.get_bytes(text, compiled).exists()
    return pygjson.get(text, compiled).exists()


def path_problem(path: str) -> str | None:
    """Return why a GJSON path is refused; None where it is not."""
    if not 0 < len(path) <= MAX_PATH:
        return f"a GJSON path has 1 to {MAX_PATH} characters, not {len(path)}"
    plain = _ESCAPED.sub("_", path)
    unquoted = _QUOTED.sub('""', plain)
    for name in _MODIFIER.findall(unquoted):
        if name not in MODIFIERS:
            return f"no modifier {shown('@' + name)} is known{hint(name, MODIFIERS)}"
    if _LITERAL.search(unquoted):
        return "literals (`!`) of GJSON are not known, and exist always"
    for pattern in _PATTERN.findall(plain):
        if pattern.rstrip("*").count("*") > 1:
            return (
                f"the pattern {shown(pattern)} may take very long: it may have one `*`, and one "
                "more at its end"
            )
    return None


def _check_text(text: Any) -> None:
    if not isinstance(text, str | bytes):
        raise TypeError(f"a text is needed, not {shown(text)}")


@lru_cache(maxsize=1024)
def _compiled(path: str) -> pygjson.Path:
    wrong = path_problem(path)
    if wrong is not None:
        raise ValueError(wrong)
    return pygjson.compile(path)
