"""What is counted of a cache."""

from __future__ import annotations

from anabranch.telemetry import definitions
from anabranch.telemetry.definitions import MetricDefinition
from anabranch.telemetry.registry import REGISTRY, Registry


class CacheCounts:
    """Counts of one cache, whose ``node`` is empty for that of a graph."""

    def __init__(self, graph: str, revision: str, node: str, registry: Registry = REGISTRY) -> None:
        self.graph = graph
        self._labels = graph, revision, node
        self._registry = registry
        self._outcomes = {
            outcome: registry.number(definitions.CACHE_REQUESTS, *self._labels, outcome)
            for outcome in ("hit", "miss", "wait", "bypass")
        }

    def asked(self, outcome: str) -> None:
        """Count a question: a hit, miss, wait or bypass."""
        self._outcomes[outcome].value += 1

    def failed(self) -> None:
        """Count an answer that could not be read, or answers that could not be written."""
        self._add(definitions.CACHE_ERRORS, 1)

    def evicted(self, answers: int) -> None:
        """Count answers that had to leave."""
        self._add(definitions.CACHE_EVICTIONS, answers)

    def holds(self, size: int) -> None:
        """Note the bytes that the cache takes on this machine."""
        self._registry.number(definitions.CACHE_BYTES, *self._labels).value = size

    def _add(self, metric: MetricDefinition, number: int) -> None:
        self._registry.number(metric, *self._labels).value += number
