"""Metrics of watched models: the age of the last look at each, its trouble, and moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from anabranch.components.artefacts.uris import redacted
from anabranch.control.watching.looks import ReferenceLooks, WatchLooks
from anabranch.control.watching.models import WatchingGraph
from anabranch.control.watching.troubles import Trouble, Troubles
from anabranch.telemetry.definitions import WATCH_AGE, WATCH_MOVES, WATCH_TROUBLE
from anabranch.telemetry.registry import REGISTRY, Registry


class WatchMetrics:
    """The metrics of all watches; ``clock`` gives Unix time."""

    def __init__(
        self, registry: Registry = REGISTRY, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._shown: set[tuple[str, str]] = set()

    def see(
        self, graphs: Mapping[str, WatchingGraph], looks: WatchLooks, troubles: Troubles
    ) -> None:
        """Show of each model of each graph how old its last look is, and its trouble."""
        shown: set[tuple[str, str]] = set()
        for graph, one in graphs.items():
            self._registry.number(WATCH_MOVES, graph)
            for reference in one.base.models:
                labels = (graph, redacted(reference))
                self._see(labels, looks.of(reference), troubles.of(graph, reference))
                shown.add(labels)
        for labels in self._shown - shown:
            self._registry.forget(WATCH_AGE, *labels)
            self._registry.forget(WATCH_TROUBLE, *labels)
        self._shown = shown

    def _see(
        self, labels: tuple[str, str], look: ReferenceLooks | None, trouble: Trouble | None
    ) -> None:
        now = self._clock()
        if look is not None and look.at is not None:
            self._registry.number(WATCH_AGE, *labels).value = now - look.at
        cell = self._registry.number(WATCH_TROUBLE, *labels)
        cell.value = 0.0 if trouble is None else now - trouble.since

    def moved(self, graph: str) -> None:
        """Count a revision that was made because a model has moved."""
        self._registry.number(WATCH_MOVES, graph).value += 1
