"""Plain data that may have any shape: what rules read before it is known to be valid.

An absent field and a null one are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from anabranch.errors import FieldPath, Mistake
from anabranch.specs.units import Duration

Map = Mapping[str, Any]


def as_map(value: Any) -> dict[str, Any]:
    """``value`` without its null fields if it is a map, else an empty one."""
    if not isinstance(value, Mapping):
        return {}
    return {key: inner for key, inner in value.items() if inner is not None}


def as_list(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_number(value: Any) -> float | None:
    """``value`` if it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def some_time(owner: Map, field: str) -> Iterator[Mistake]:
    """Refuse a duration of nothing; what is none at all is refused elsewhere."""
    with suppress(ValueError):
        if Duration.parse(owner.get(field)) == 0:
            yield (field,), "must be more than 0"


def under(prefix: FieldPath, found: Iterator[Mistake]) -> Iterator[Mistake]:
    """Yield the mistakes found, their paths starting with ``prefix``."""
    for path, message in found:
        yield (*prefix, *path), message
