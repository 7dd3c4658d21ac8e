"""The end of an error message: what was probably meant, and what there is.

Names may come from anywhere, so none is shown in full length or with raw control characters.
"""

from __future__ import annotations

from collections.abc import Iterable

from anabranch.specs.excerpts import clean, nearest

_MOST = 12


def hint(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'? available: x, y)``, shortened; empty text without options."""
    known = sorted(set(options))
    if not known:
        return ""
    close = nearest(name, known)
    meant = f"did you mean {shown(close)}? " if close is not None else ""
    return f" ({meant}available: {listing(known)})"


def listing(names: Iterable[str]) -> str:
    """Return the names in their order with commas; only the first dozen, and how many more."""
    known = list(names)
    more = f", … and {len(known) - _MOST} more" if len(known) > _MOST else ""
    return ", ".join(clean(name) for name in known[:_MOST]) + more


def shown(value: object) -> str:
    """Return ``repr(value)``, cut to a length that suits a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
