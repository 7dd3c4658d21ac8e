"""The replicas on each machine of an engine that has several, as a metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from anabranch.control.nodes.everywhere import by_name
from anabranch.control.nodes.node import Node
from anabranch.control.nodes.views import placed
from anabranch.telemetry.definitions import MACHINE_REPLICAS
from anabranch.telemetry.registry import REGISTRY, Registry


class MachineCounts:
    """Counts what Serve says of its ``applications``, by machine."""

    def __init__(
        self, applications: Callable[[], Mapping[str, Any]], registry: Registry = REGISTRY
    ) -> None:
        self._applications = applications
        self._registry = registry

    def see(self, nodes: Iterable[Node]) -> None:
        """Show how many replicas of each segment are on these machines."""
        places = placed(self._applications())
        counts: Counter[tuple[str, ...]] = Counter()
        for name, node in by_name(nodes).items():
            for share, number in places.get(node.id, {}).items():
                counts[share.graph, share.deployment, name] += number
        self._registry.show(MACHINE_REPLICAS, counts)
