"""Reads revisions, weights and percentages from the command line, strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer

_REVISION = re.compile(r"r?([1-9][0-9]{0,8})")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15}")


def revision(text: Any) -> int:
    """Return the number in ``3`` or ``r3``; raise BadParameter for any other text."""
    match = _REVISION.fullmatch(str(text))
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a revision, such as 3 or r3")
    return int(match[1])


def percent(text: Any) -> float:
    """Return a percentage from 0 to 100; raise BadParameter for any other text."""
    return _number(str(text), repr(text), most=100.0)


def steps(text: Any) -> list[float]:
    """Return increasing percentages, such as ``5,25,50``; raise BadParameter for other text."""
    found = [percent(part.strip()) for part in str(text).split(",")]
    for before, step in pairwise(found):
        if step <= before:
            raise typer.BadParameter(f"{text!r}: {step:g} is not more than {before:g}")
    return found


def weights(pairs: Sequence[str]) -> dict[int, float]:
    """Return weights by revision, from ``r3=90`` or ``3=90``; raise BadParameter if malformed."""
    return _shares(pairs, most=None)


def percentages(pairs: Sequence[str]) -> dict[int, float]:
    """Return percentages by revision, from ``r5=25`` or ``5=25``; raise BadParameter for a wrong
    pair.
    """
    return _shares(pairs, most=100.0)


def _shares(pairs: Sequence[str], most: float | None) -> dict[int, float]:
    found: dict[int, float] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair!r} is not REVISION=NUMBER, such as r3=90")
        number = revision(name)
        if number in found:
            raise typer.BadParameter(f"{pair!r}: revision {number} is given twice")
        found[number] = _number(text, repr(pair), most)
    return found


def _number(text: str, what: str, most: float | None) -> float:
    """Return a number of decimal digits: no sign, no exponent, no inf and no nan."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    if value is None or (most is not None and value > most):
        limits = "of at least 0" if most is None else f"from 0 to {most:g}"
        raise typer.BadParameter(f"{what} is not a number {limits}")
    return value
