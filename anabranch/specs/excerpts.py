"""Words for messages: safe excerpts of values and names, and the nearest names that there are.

Values and names may be hostile: control characters are never shown raw, and nothing is shown in
full length. Messages about a spec use backquotes and words, others use Python's quotes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from anabranch.errors import FieldPath

MAX_EXCERPT = 60
"""Longest excerpt of a spec in a message, in characters."""
_MAX_COMPARED = 64
"""Longer words are never compared with the alternatives: it takes too long, and nothing is near."""
_MAX_CHOICES = 100
"""Only so many alternatives are compared."""
_MAX_LISTED = 12
"""Most names that a message lists."""
_MAX_REPR = 80
"""Longest ``repr`` in a message, in characters."""
_ALIASES = {
    "average": "mean", "canary": "candidate", "ensemble": "combiner", "model": "predictor",
    "preprocess": "transformer", "scikit-learn": "sklearn", "shap": "kernel_shap",
    "switch": "router",
    "bfloat16": "BF16", "bool_": "BOOL", "double": "FP64", "float": "FP32", "float16": "FP16",
    "float32": "FP32", "float64": "FP64", "half": "FP16", "int": "INT64", "object": "BYTES",
    "single": "FP32", "str": "BYTES", "string": "BYTES",
}  # fmt: skip
"""Words of Seldon, KServe, NumPy and others, and what the language calls the same."""


def clean(text: str, limit: int = MAX_EXCERPT) -> str:
    """Return ``text`` with control characters escaped, cut to ``limit`` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut)


def safe_path(path: FieldPath) -> FieldPath:
    """Return ``path`` with its names cut and cleaned, so that it can be printed."""
    limit = MAX_EXCERPT if len(path) <= 8 else 16
    return tuple(clean(part, limit) if isinstance(part, str) else part for part in path)


def quoted(text: str) -> str:
    """Return ``text`` as an excerpt in backquotes."""
    return f"`{clean(text)}`"


def shown(value: object) -> str:
    """Return ``repr(value)``, cut to a length that suits a message.

    Return words for a number, or what holds one, of more digits than Python writes.
    """
    try:
        text = repr(value)
    except ValueError:
        return in_words(value)
    return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."


def as_written(value: Any) -> str:
    """Return a value of a spec as it is written: ``'x'``, ``3``; in words if it is long."""
    match value:
        case str() if value:
            return f"'{clean(value)}'"
        case int() | float() if not isinstance(value, bool) and abs(value) < 1e30:
            return _number(value)
    return in_words(value)


def in_words(value: Any) -> str:
    """Return a value of a spec with its type: ``the text 'x'``, ``the number 3``, ``a map``.

    This is for messages about a wrong type; elsewhere ``as_written`` is shorter.
    """
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text '{clean(value)}'" if value else "empty text"
        case int() | float():
            return f"the number {_number(value)}"
        case dict():
            return "a map" if value else "an empty map"
        case list() | tuple():
            return "a list" if value else "an empty list"
    return f"a value of type {clean(type(value).__name__)}"


def _number(value: float) -> str:
    """Return a number as YAML writes it; ``int`` of any length, without converting it whole."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"of about {value.bit_length() * 3 // 10} digits"
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that ``word`` most likely means, in any case; None if none is near."""
    if len(word) > _MAX_COMPARED:
        return None
    folded = {choice.casefold(): choice for choice in islice(choices, _MAX_CHOICES)}
    alias = _ALIASES.get(word.casefold())
    if alias is not None and word.casefold() not in folded and alias.casefold() in folded:
        return folded[alias.casefold()]
    matches = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """Return `` (did you mean `x`?)``, or the choices where none is near and they are few."""
    match = nearest(word, choices)
    if match is not None:
        return f" (did you mean {quoted(match)}?)"
    if 0 < len(choices) <= _MAX_LISTED:
        return f" (choose from {', '.join(map(clean, choices))})"
    return ""


def hint(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'? available: x, y)``, shortened; empty text without options."""
    known = sorted(set(options))
    if not known:
        return ""
    close = nearest(name, known)
    meant = f"did you mean {shown(close)}? " if close is not None else ""
    return f" ({meant}available: {listing(known)})"


def listing(names: Iterable[str], limit: int = MAX_EXCERPT) -> str:
    """Return the names in their order with commas; only the first dozen, and how many more.

    Each is cut to ``limit`` characters.
    """
    known = list(names)
    more = f", … and {len(known) - _MAX_LISTED} more" if len(known) > _MAX_LISTED else ""
    return ", ".join(clean(name, limit) for name in known[:_MAX_LISTED]) + more


def quoted_all(names: Iterable[str]) -> str:
    """Return names in backquotes: `` `a` ``, `` `a` and `b` ``, `` `a`, `b` and `c` ``."""
    *most, last = map(quoted, names)
    return f"{', '.join(most)} and {last}" if most else last
