"""Metrics of watched models: the age of the last look at each, and moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from anabranch.components.artefacts.uris import redacted
from anabranch.control.watching.looks import WatchLooks
from anabranch.control.watching.models import WatchingGraph
from anabranch.telemetry.definitions import WATCH_AGE, WATCH_MOVES
from anabranch.telemetry.registry import REGISTRY, Registry


class WatchMetrics:
    """The metrics of all watches; ``clock`` gives Unix time."""

    def __init__(
        self, registry: Registry = REGISTRY, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._shown: set[tuple[str, str]] = set()

    def see(self, graphs: Mapping[str, WatchingGraph], looks: WatchLooks) -> None:
        """Show how old the last look is at each model of each graph; none before the first."""
        shown: set[tuple[str, str]] = set()
        for graph, one in graphs.items():
            self._registry.number(WATCH_MOVES, graph)
            for reference in one.base.models:
                look = looks.of(reference)
                if look is not None and look.at is not None:
                    labels = (graph, redacted(reference))
                    self._registry.number(WATCH_AGE, *labels).value = self._clock() - look.at
                    shown.add(labels)
        for labels in self._shown - shown:
            self._registry.forget(WATCH_AGE, *labels)
        self._shown = shown

    def moved(self, graph: str) -> None:
        """Count a revision that was made because a model has moved."""
        self._registry.number(WATCH_MOVES, graph).value += 1
