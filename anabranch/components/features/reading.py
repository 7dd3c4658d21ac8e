"""From rows of a store to outputs of a node: conversions, lifetimes and defaults.

Serving and training sets both go through here, so that both see the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anabranch.components.features.cache import FeatureRow
from anabranch.components.features.keys import Key, shown_key
from anabranch.components.features.stores import StoredRow
from anabranch.components.features.values import FeatureColumn
from anabranch.components.tensors.arrays import Array
from anabranch.errors import NodeError

NOTHING = FeatureRow(())


@dataclass(frozen=True)
class RowReader:
    """Reads rows as the outputs of one node."""

    node: str
    entities: tuple[str, ...]
    columns: tuple[FeatureColumn, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Elements by output."""
    missing: Literal["fail", "absent"] = "fail"
    """What becomes of an output without a default of which a row has no value."""
    ttl: float | None = None
    """Age in seconds from which a value with a time counts as missing."""

    def read(self, key: Key, stored: StoredRow | None) -> FeatureRow:
        """Return a row of a store as elements of the outputs."""
        if stored is None:
            return NOTHING
        try:
            pairs = zip(self.columns, stored.values, strict=True)
            values = tuple(self._element(key, column, value) for column, value in pairs)
        except ValueError as error:
            return FeatureRow((), problem=str(error))
        return FeatureRow(values, stored.at)

    def is_there(self, row: FeatureRow, now: float) -> bool:
        """Return whether a row has values that are not too old at a time in Unix seconds."""
        is_over = self.ttl is not None and row.at is not None and now - row.at > self.ttl
        return bool(row.values) and not is_over

    def outputs(
        self, keys: Sequence[Key], rows: Sequence[FeatureRow | None], now: float
    ) -> dict[str, Array]:
        """Return the outputs at a time; rows that are None have no values but defaults.

        NodeError for a row that cannot be read, and where a value is missing without a default.
        """
        found: dict[str, Array] = {}
        elements = self.elements(rows, [now] * len(rows))
        for column in self.columns:
            place = next((at for at, one in enumerate(elements[column.name]) if one is None), None)
            if place is None:
                found[column.name] = column.array(elements[column.name])
            elif self.missing == "fail":
                raise NodeError(
                    self.node,
                    f"there is no {column.ref!r} of {shown_key(self.entities, keys[place])}, and "
                    f"output {column.name!r} has no default",
                )
        return found

    def elements(
        self, rows: Sequence[FeatureRow | None], times: Sequence[float]
    ) -> dict[str, list[Any]]:
        """Return the elements of each output, each row at its time; None where one is missing.

        NodeError for a row that cannot be read.
        """
        problem = next((row.problem for row in rows if row is not None and row.problem), None)
        if problem is not None:
            raise NodeError(self.node, problem)
        known = [row.values if row is not None and self.is_there(row, time) else None
                 for row, time in zip(rows, times, strict=True)]  # fmt: skip
        return {
            column.name: self._with_default(column, [
                None if values is None else values[place] for values in known
            ])
            for place, column in enumerate(self.columns)
        }  # fmt: skip

    def _with_default(self, column: FeatureColumn, elements: list[Any]) -> list[Any]:
        if column.name not in self.defaults:
            return elements
        default = self.defaults[column.name]
        return [default if element is None else element for element in elements]

    def _element(self, key: Key, column: FeatureColumn, value: Any) -> Any:
        try:
            return None if value is None else column.element(value)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(
                f"{column.ref!r} of {shown_key(self.entities, key)} {error}: {value!r:.80} "
                f"(output {column.name!r} is {column.spec})"
            ) from None
