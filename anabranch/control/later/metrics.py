"""Metrics of asynchronous requests: those that wait and run, and how the others have ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from anabranch.telemetry.definitions import ASYNC_ENDED, ASYNC_OPEN
from anabranch.telemetry.registry import REGISTRY, Registry

Outcome: TypeAlias = Literal["answered", "failed", "cancelled", "lost"]
_LEAST_ERROR = 400


def outcome_of(status: int) -> Outcome:
    """Return how a request ended that has a reply of that status."""
    return "failed" if status >= _LEAST_ERROR else "answered"


class AsyncMetrics:
    """Counts the requests of an engine."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry

    def ended(self, graph: str, outcome: Outcome) -> None:
        """Count a request that is over."""
        self._registry.number(ASYNC_ENDED, graph, outcome).value += 1

    def open(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Show the numbers of requests that are not over, by graph and phase."""
        self._registry.show(ASYNC_OPEN, counts)
