"""The latest looks of every graph's rollouts at its metrics, in the controller's memory.

The log of events leaves out looks that change nothing; a chart needs all of them. A controller that
starts anew has none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from anabranch.control.lifecycle.rollouts import Measurement, Verdict

MOST_MEASUREMENTS = 1000
"""Measurements of a graph that are kept, some 150 bytes each; the looks with the oldest ones go."""


class _Measured(NamedTuple):
    metric: str
    verdict: Verdict
    value: float | None
    limit: float | None


class _Look(NamedTuple):
    at: float
    revision: int
    step: int
    found: tuple[_Measured, ...]


class LookHistory:
    """The looks of all graphs. For one thread."""

    def __init__(self) -> None:
        self._looks: dict[str, deque[_Look]] = {}

    def take(
        self, graph: str, at: float, revision: int, step: int, found: Sequence[Measurement]
    ) -> None:
        """Remember a look at a candidate at a Unix time; ``step`` counts from 0."""
        looks = self._looks.setdefault(graph, deque())
        measured = (_Measured(one.metric, one.verdict, one.value, one.limit) for one in found)
        looks.append(_Look(at, revision, step, tuple(measured)))
        left = sum(len(look.found) for look in looks) - MOST_MEASUREMENTS
        while left > 0:
            left -= len(looks.popleft().found)

    def view(self, graph: str) -> list[dict[str, Any]]:
        """The looks at a graph, oldest first; steps count from 1."""
        return [
            {
                "at": look.at,
                "revision": look.revision,
                "step": look.step + 1,
                "measurements": [one._asdict() for one in look.found],
            }
            for look in self._looks.get(graph, ())
        ]

    def keep(self, graphs: Collection[str]) -> None:
        """Forget all but these graphs."""
        for graph in self._looks.keys() - set(graphs):
            del self._looks[graph]
