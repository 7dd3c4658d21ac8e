"""Counts of a lookup, in cells of the registry of its process."""

from __future__ import annotations

from typing import Literal, TypeAlias

from anabranch.components.features.cache import CallOutcome, Source
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import Distribution, Number, Registry

RowOutcome: TypeAlias = Source | Literal["missing", "away"]
"""Where a row came from, or that the store does not know the entity, or is away."""
ROWS: tuple[RowOutcome, ...] = ("cache", "store", "stale", "missing", "away")
CALLS: tuple[CallOutcome, ...] = ("answered", "late", "away", "failed")


class LookupTally:
    """The cells of one node of one revision."""

    def __init__(self, registry: Registry, labels: tuple[str, str, str]) -> None:
        self._rows: dict[RowOutcome, Number] = {
            outcome: registry.number(definitions.LOOKUP_ROWS, *labels, outcome) for outcome in ROWS
        }
        self._calls: dict[CallOutcome, Number] = {
            outcome: registry.number(definitions.LOOKUP_CALLS, *labels, outcome)
            for outcome in CALLS
        }
        self._seconds: Distribution = registry.distribution(definitions.LOOKUP_DURATION, *labels)
        self._ages: Distribution = registry.distribution(definitions.LOOKUP_AGE, *labels)

    def row(self, outcome: RowOutcome) -> None:
        """Count a row of a request."""
        self._rows[outcome].value += 1

    def age(self, seconds: float) -> None:
        """Count the age of a row that was used, by its time in the store."""
        self._ages.observe(max(0.0, seconds))

    def call(self, outcome: CallOutcome, seconds: float) -> None:
        """Count a call of the store, which ended after so long."""
        self._calls[outcome].value += 1
        self._seconds.observe(seconds)
