"""Compares features as they were served, by the log, with those of the past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anabranch.client.features.export import (
    BATCH,
    Events,
    ExportTally,
    Say,
    logged,
)
from anabranch.client.features.logged_rows import LogColumn, LoggedRow, RowFilter, batches
from anabranch.client.features.past import PastLookup
from anabranch.errors import InvalidRequest

SHOWN = 5
"""Most differences of a feature that are reported."""


@dataclass(frozen=True)
class SkewExample:
    """A row whose feature was served otherwise than the past has it."""

    id: str
    row: int
    time: str
    served: Any
    past: Any
    """None where the past has no value, and there is no default."""


@dataclass
class FeatureSkew:
    """The differences of one feature."""

    feature: str
    rows: int = 0
    different: int = 0
    examples: list[SkewExample] = field(default_factory=list)
    total: float = 0.0
    """Sum of the absolute differences of numbers."""
    largest: float = 0.0

    @property
    def share(self) -> float:
        """Share of the rows that differ, 0 to 1."""
        return self.different / self.rows if self.rows else 0.0

    @property
    def mean(self) -> float:
        """Mean absolute difference of numbers, over all rows."""
        return self.total / self.rows if self.rows else 0.0

    def see(self, row: LoggedRow, served: Any, past: Any) -> None:
        """Compare a row."""
        self.rows += 1
        if is_same(served, past):
            return
        self.different += 1
        distance = distance_of(served, past)
        self.total += distance
        self.largest = max(self.largest, distance)
        if len(self.examples) < SHOWN:
            time = row.time.isoformat()
            self.examples.append(SkewExample(row.id, row.row, time, served, past))


@dataclass
class SkewReport:
    """All features, and the rows that were compared."""

    tally: ExportTally
    features: dict[str, FeatureSkew]

    def is_within(self, share: float) -> bool:
        """Return whether no feature differs in more than a share of its rows."""
        return all(one.share <= share for one in self.features.values())


def is_same(served: Any, past: Any) -> bool:
    """Return whether two elements are equal; NaN is equal to NaN."""
    if isinstance(served, list) and isinstance(past, list):
        pairs = zip(served, past, strict=False)
        return len(served) == len(past) and all(is_same(one, other) for one, other in pairs)
    if isinstance(served, float) and isinstance(past, float) and math.isnan(served):
        return math.isnan(past)
    return bool(served == past)


def distance_of(served: Any, past: Any) -> float:
    """Return how far two numbers are apart; 0 for others, and for those that are not finite."""
    if isinstance(served, int | float) and isinstance(past, int | float):
        distance = abs(served - past)
        return float(distance) if math.isfinite(distance) else 0.0
    return 0.0


async def compare(
    events: Events,
    wanted: RowFilter,
    columns: Sequence[LogColumn],
    past: Sequence[PastLookup],
    say: Say = lambda tally: None,
) -> SkewReport:
    """Compare all logged features with those of the past.

    InvalidRequest where a lookup's outputs are not among the values that are logged.
    """
    known = {column.name for column in columns}
    for lookup in past:
        if not known.issuperset(column.name for column in lookup.columns):
            raise InvalidRequest(
                f"the outputs of node {lookup.node!r} are not in the log: name it in "
                "`telemetry.requests.nodes`"
            )
    names = [column.name for lookup in past for column in lookup.columns]
    report = SkewReport(ExportTally(), {name: FeatureSkew(name) for name in names})
    for part in batches(logged(events, wanted, columns, report.tally), BATCH):
        for lookup in past:
            for row, values in zip(part, await lookup.values(part), strict=True):
                for name, value in values.items():
                    if name in row.values:
                        report.features[name].see(row, row.values[name], value)
        report.tally.rows += len(part)
        say(report.tally)
    return report
