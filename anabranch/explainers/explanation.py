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
    """How the model's answer goes with one feature."""

    feature: str
    grid: tuple[float | str, ...]
    """Values of the feature, in order."""
    values: tuple[float, ...]
    """The effect at each of them, on the target."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample that the model was trained on, and how much it speaks for the answer."""

    index: int
    """Which row of the data it is, from 0."""
    score: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a method says of one row, or of the model as a whole."""

    method: str
    """Name of the method, as in the spec."""
    seed: int
    """Seed of all that was random."""
    target: int | str | None = None
    """What is explained: a class by its index, or an output by its name."""
    feature_names: tuple[str, ...] | None = None
    attributions: Nested | None = None
    """What each feature, pixel or token adds to the target, in the shape of the row; or the
    importance of each feature."""
    rule: tuple[str, ...] | None = None
    """Conditions that hold the answer in place, of which all hold for the row."""
    base_value: float | None = None
    """The target's value where nothing is known of the row."""
    prediction: float | None = None
    """The target's value for the row, in the unit of ``attributions``."""
    precision: float | None = None
    """Share of rows of which the rule holds that get the same answer, 0 to 1."""
    coverage: float | None = None
    """Share of all rows of which the rule holds, 0 to 1."""
    curves: tuple[Curve, ...] | None = None
    examples: tuple[Example, ...] | None = None
    """The nearest first."""
    library: Any = None
    """What the library itself returned, as JSON-able data."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are known, as JSON-able data."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case Curve() | Example():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case tuple():
            return [_plain(item) for item in value]
    return value
