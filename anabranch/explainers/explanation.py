"""One shape for what all methods find: plain data, whichever library found it.

A method fills in what it knows and leaves the rest out. ``to_json`` is what clients get::

    {"method": "kernel_shap", "target": 1, "feature_names": ["age", "income"],
     "attributions": [0.21, -0.07], "base_value": 0.63, "prediction": 0.77, "seed": 0,
     "library": {...}}
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

Nested: TypeAlias = "float | list[Nested]"
"""Numbers in nested lists, in the shape of a tensor without its rows."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The course of the model's answer along one feature."""

    feature: str
    grid: tuple[float | str, ...]
    """Values of the feature, in order."""
    values: tuple[float, ...]
    """The effect on the target at each value."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A training sample, and its support for the answer."""

    index: int
    """Number of the row in the data, from 0."""
    score: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The explanation of one row, or of the model as a whole."""

    method: str
    """Name of the method, as in the spec."""
    seed: int
    """Seed of the random draws."""
    target: int | str | None = None
    """The explained class by its index, or the explained output by its name."""
    feature_names: tuple[str, ...] | None = None
    attributions: Nested | None = None
    """Contribution of each feature, pixel or token to the target, in the shape of the row; or the
    importance of each feature."""
    rule: tuple[str, ...] | None = None
    """Conditions that all hold for the row, and that keep its answer."""
    base_value: float | None = None
    """The target's value without any knowledge of the row."""
    prediction: float | None = None
    """The target's value for the row, in the unit of ``attributions``."""
    precision: float | None = None
    """Share of the rows under the rule that get the same answer, 0 to 1."""
    coverage: float | None = None
    """Share of all rows that are under the rule, 0 to 1."""
    curves: tuple[Curve, ...] | None = None
    examples: tuple[Example, ...] | None = None
    """Similar training samples, the nearest first."""
    library: Any = None
    """Values that the library itself returned, as JSON-able data."""

    def to_json(self) -> dict[str, Any]:
        """Return the filled fields as JSON-able data."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case Curve() | Example():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case tuple():
            return [_plain(item) for item in value]
    return value
