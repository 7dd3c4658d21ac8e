"""Values of stores as elements of typed outputs.

Stores give texts, numbers, decimals, times or lists; an output has one datatype. A conversion never
loses anything silently but the precision of floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of, to_dtype
from anabranch.components.tensors.texts import filled
from anabranch.specs.models import TensorSpec

_TRUE = frozenset(("true", "t", "1", "yes"))
_FALSE = frozenset(("false", "f", "0", "no"))
_SAFE = {"FP16": 2.0**15, "BF16": 2.0**127, "FP32": 2.0**127, "FP64": math.inf}
"""Magnitudes up to which every number fits a datatype."""


@dataclass(frozen=True)
class FeatureColumn:
    """An output of a lookup: a feature of each row."""

    name: str
    ref: str
    """The feature, as the store names it: a column, a field, or ``view:feature``."""
    spec: TensorSpec
    """Type of the output: rows, and behind them the shape of one value."""

    def element(self, value: Any) -> Any:
        """Return a store's value as this output's; ValueError where it does not fit."""
        shape = self.spec.shape[1:]
        convert = _CONVERSIONS[kind_of(to_dtype(self.spec.datatype))]
        if not shape:
            return convert(_plain(value), self.spec.datatype)
        elements = [convert(_plain(one), self.spec.datatype) for one in _flat(value, shape)]
        return gathered(elements, self.spec.datatype).reshape(shape)

    def array(self, elements: Sequence[Any]) -> Array:
        """Return the output that holds an element for each row."""
        shape = self.spec.shape[1:]
        if not shape:
            return gathered(elements, self.spec.datatype)
        flat = np.concatenate([one.ravel() for one in elements]) if elements else np.empty(0)
        return flat.astype(to_dtype(self.spec.datatype)).reshape(len(elements), *shape)


def gathered(elements: Sequence[Any], datatype: str) -> Array:
    """Return elements of one datatype as an array [elements]."""
    if datatype == "BYTES":
        return filled(elements, (len(elements),))
    return np.array(elements, to_dtype(datatype))


def unix_seconds(value: Any) -> float:
    """Return a time as Unix seconds: of a number, a datetime or a text in ISO 8601.

    Times without a zone are UTC. ValueError for anything else.
    """
    value = _plain(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float | Decimal):
        return float(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no time")
    try:
        return float(value)
    except ValueError:
        return unix_seconds(datetime.fromisoformat(value))


def _plain(value: Any) -> Any:
    """Return NumPy's scalars and texts in bytes as Python's own."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return bytes(value)
    return value


def _flat(value: Any, shape: Sequence[int]) -> list[Any]:
    """Return the elements of a list, an array or a list in JSON that has the shape."""
    try:
        found = np.asarray(orjson.loads(value) if isinstance(value, str | bytes) else value, object)
    except ValueError:
        raise ValueError(f"is no list of shape {list(shape)}") from None
    if found.shape != tuple(shape):
        raise ValueError(f"has shape {list(found.shape)}, not {list(shape)}")
    elements: list[Any] = found.ravel().tolist()
    return elements


def _text(value: Any, datatype: str) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | list | tuple | np.ndarray) or value is None:
        raise ValueError(f"is no text, but a {type(value).__name__}")
    return str(value)


def _truth(value: Any, datatype: str) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    elif isinstance(value, int | float | Decimal) and value in (0, 1):
        return bool(value)
    raise ValueError("is neither true nor false")


def _whole(value: Any, datatype: str) -> int:
    number = _number(value)
    if number != number or number in (float("inf"), float("-inf")) or int(number) != number:
        raise ValueError("is no whole number")
    limits = np.iinfo(to_dtype(datatype))
    if not limits.min <= number <= limits.max:
        raise ValueError(f"does not fit {datatype} ({limits.min} to {limits.max})")
    return int(number)


def _float(value: Any, datatype: str) -> float:
    number = float(_number(value))
    if _SAFE[datatype] < abs(number) < math.inf:
        with np.errstate(over="ignore"):  # which takes longer than all else here
            if not np.isfinite(to_dtype(datatype).type(number)):
                raise ValueError(f"does not fit {datatype}")
    return number


def _number(value: Any) -> int | float | Decimal:
    """Return a number as exactly as it was given; a time as Unix seconds."""
    if isinstance(value, date):
        return unix_seconds(value)
    if isinstance(value, int | float | Decimal):
        return value
    if isinstance(value, str):
        for parse in (int, float):
            try:
                return parse(value)
            except ValueError:
                continue
    raise ValueError("is no number")


_CONVERSIONS: dict[str, Callable[[Any, str], Any]] = {
    "O": _text, "b": _truth, "i": _whole, "u": _whole, "f": _float,
}  # fmt: skip
"""Conversion of one element, by the kind of its dtype."""
