"""Quantities of Kubernetes: ``100m`` processors, ``512Mi`` bytes."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([A-Za-z]{0,2}|[eE][-+]?[0-9]{1,2})"
)
_SUFFIXES = {
    "": Fraction(1), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50),
}  # fmt: skip


def quantity(value: object) -> Fraction:
    """Return a quantity in its base unit; raise ValueError for what is none."""
    text = (
        str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    )
    matched = _QUANTITY.fullmatch(text.strip())
    if matched is None:
        raise ValueError("is no quantity such as 100m, 2 or 512Mi")
    number, unit = matched.groups()
    if unit[:1] in ("e", "E") and len(unit) > 1:
        return Fraction(number) * Fraction(10) ** int(unit[1:])
    if unit not in _SUFFIXES:
        raise ValueError(
            f"has no unit of Kubernetes (available: {', '.join(filter(None, _SUFFIXES))})"
        )
    return Fraction(number) * _SUFFIXES[unit]
