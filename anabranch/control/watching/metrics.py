"""Metrics of watched models: the age of the last look at each, its trouble, and moves."""

from __future__ import annotations

import time
from collections.abc import Mapping

from anabranch.components.artefacts.uris import redacted
from anabranch.control.watching.looks import WatchLooks
from anabranch.control.watching.models import WatchingGraph
from anabranch.control.watching.troubles import Troubles
from anabranch.telemetry.definitions import WATCH_AGE, WATCH_MOVES, WATCH_TROUBLE
from anabranch.telemetry.registry import REGISTRY, Registry


class WatchMetrics:
    """The metrics of all watches."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry

    def see(
        self, graphs: Mapping[str, WatchingGraph], looks: WatchLooks, troubles: Troubles
    ) -> None:
        """Show of each model of each graph how old its last look is, and its trouble."""
        now = time.time()
        ages: dict[tuple[str, str], float] = {}
        lasting: dict[tuple[str, str], float] = {}
        for graph, one in graphs.items():
            self._registry.number(WATCH_MOVES, graph)
            for reference in one.base.models:
                labels = (graph, redacted(reference))
                look, trouble = looks.of(reference), troubles.of(graph, reference)
                if look is not None and look.at is not None:
                    ages[labels] = now - look.at
                lasting[labels] = 0.0 if trouble is None else now - trouble.since
        self._registry.show(WATCH_AGE, ages)
        self._registry.show(WATCH_TROUBLE, lasting)

    def moved(self, graph: str) -> None:
        """Count a revision that was made because a model has moved."""
        self._registry.number(WATCH_MOVES, graph).value += 1
