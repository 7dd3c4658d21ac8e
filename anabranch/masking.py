"""Secrets of a process, masked in the texts that leave it: lines of its log, and errors' texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Lock
from typing import Any
from urllib.parse import quote

import orjson

MASK = "***"
LEAST = 4
"""Shortest secret that is masked, in characters; a shorter one stands in texts by chance."""
_LEAST_LINE = 8
"""Shortest line of a secret of several lines that is masked by itself."""

_hidden: tuple[str, ...] = ()
"""Longest first, so that no rest of a secret stays which holds another one."""
_hiding = Lock()


def hide(secret: str) -> None:
    """Mask a secret, and each line of one that has several, in all texts from now on.

    So are its forms in Python's ``repr``, in JSON and in a URL.
    """
    global _hidden
    lines = [line for line in secret.splitlines() if len(line) >= _LEAST_LINE]
    whole = [part for part in (secret, secret.strip()) if len(part) >= LEAST]
    forms = {form for part in (*whole, *lines) for form in _forms(part)}
    with _hiding:
        _hidden = tuple(sorted({*_hidden, *forms}, key=len, reverse=True))


def _forms(text: str) -> Iterator[str]:
    yield text
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield quote(text)
    yield quote(text, safe="")


def masked(text: str) -> str:
    """Return a text without the secrets of this process."""
    for secret in _hidden:
        text = text.replace(secret, MASK)
    return text


def safe_end(text: str) -> int:
    """Return where a text may be cut, so that no part of it has a piece of a secret.

    The text after that place ends within a secret, which may go on in what follows; there is none
    of it, and the place is the text's end, unless it does.
    """
    end = min((_begun(secret, text) for secret in _hidden), default=len(text))
    cut = [start for secret in _hidden if (start := _around(secret, text, end)) is not None]
    while cut:
        end = min(cut)
        cut = [start for secret in _hidden if (start := _around(secret, text, end)) is not None]
    return end


def _begun(secret: str, text: str) -> int:
    """Return where the longest proper beginning of a secret starts that the text ends with."""
    start = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while start >= 0 and not secret.startswith(text[start:]):
        start = text.find(secret[0], start + 1)
    return len(text) if start < 0 else start


def _around(secret: str, text: str, place: int) -> int | None:
    """Return where a secret starts that stands on both sides of a place; None if none does."""
    start = text.find(secret, max(0, place - len(secret) + 1), place + len(secret) - 1)
    return start if 0 <= start < place else None


def masked_json(document: bytes) -> bytes:
    """Return a JSON object whose texts have no secrets of this process, nor have keys within it.

    The keys of the object itself stay.
    """
    if not _hidden:
        return document
    found: dict[str, Any] = orjson.loads(document)
    return orjson.dumps({name: _within(value) for name, value in found.items()})


def _within(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [_within(one) for one in value]
    if isinstance(value, dict):
        return {masked(key): _within(one) for key, one in value.items()}
    return value
