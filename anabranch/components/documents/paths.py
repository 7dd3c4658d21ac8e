"""What conditions ask of the texts of JSON documents: their values, and what is at a path.

Paths are those of GJSON (github.com/tidwall/gjson, SYNTAX.md). What exists is what GJSON calls so:
``null`` and ``false`` do, and ``a.#(x==1)#`` always does. A path that could take more than linear
time on a text of a client is refused. Where GJSON looks at characters instead of values, this does
not: a key that an object repeats has its last value, and there is nothing below a text that happens
to hold a bracket.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from anabranch.components.documents.gjson.search import get
from anabranch.components.documents.gjson.texts import MISSING
from anabranch.specs.excerpts import shown

MAX_PATH = 1024
"""Longest GJSON path, in characters."""
MAX_COMMAS = 10
"""Most commas of a path: each may double what a path looks at."""
_HEAVY = re.compile(r"@dig.*@(?:tostr|flatten:)", re.DOTALL)


def json_of(text: Any) -> Any:
    """Return the value of a JSON text as conditions read it; None where the text is no JSON."""
    _check_text(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def exists(text: Any, path: str) -> bool:
    """Return whether a JSON text has something at a GJSON path.

    False where it is no JSON, or nests deeper than can be looked at. Raise ValueError for a path
    that is refused, or that makes an array of too many elements.
    """
    _check_text(text)
    wrong = path_problem(path)
    if wrong is not None:
        raise ValueError(wrong)
    try:
        return get(orjson.loads(text), path) is not MISSING
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return False


def path_problem(path: str) -> str | None:
    """Return why a GJSON path is refused; None where it is not."""
    if not 0 < len(path) <= MAX_PATH:
        return f"a GJSON path has 1 to {MAX_PATH} characters, not {len(path)}"
    if path.count(",") > MAX_COMMAS:
        return f"a GJSON path has at most {MAX_COMMAS} commas, not {path.count(',')}"
    if path.count("@dig") > 1:
        return (
            "a GJSON path may have one `@dig`: a second one would search all again for each value"
        )
    if _HEAVY.search(path):
        return (
            "a GJSON path has neither `@tostr` nor `@flatten:` behind `@dig`: they would make all"
            " that is in each value anew"
        )
    if path.count("@tostr") > 1:
        return "a GJSON path may have one `@tostr`: each may double the length of the text"
    return None


def _check_text(text: Any) -> None:
    if not isinstance(text, str | bytes):
        raise TypeError(f"a text is needed, not {shown(text)}")
