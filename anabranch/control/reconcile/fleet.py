"""The replicas that Serve runs, as metrics: how many of each segment, and starts from nothing.

What is seen is as fine as the reconciler looks: at least every five seconds, and whenever a router
comes or goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from anabranch.control.reconcile import serving
from anabranch.graph.plan.plan import HEAD
from anabranch.router.table import parse_app
from anabranch.telemetry.definitions import COLD_STARTS, REPLICAS
from anabranch.telemetry.registry import REGISTRY, Registry

Place: TypeAlias = tuple[str, str, str]
"""Graph, revision and segment."""

_ALWAYS = ("running", "starting")
"""States that are shown though no replica is in them."""
_ENDING = frozenset(("stopping", "stopped"))
_HEALTHY = "HEALTHY"


class Fleet:
    """The metrics of all replicas."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry
        self._asleep: set[Place] = set()
        """Segments that were well with no replica at all."""

    def see(self, applications: Mapping[str, Any], waiting: Mapping[Place, int]) -> None:
        """Show what Serve says of its applications, and how many replicas wait for room."""
        counts: Counter[tuple[str, ...]] = Counter()
        asleep: set[Place] = set()
        for place, deployment in deployments(applications):
            states = serving.replica_states(deployment)
            counts.update({(*place, state): number for state, number in states.items()})
            counts.update({(*place, state): 0 for state in _ALWAYS})
            alive = states.total() - sum(states[state] for state in _ENDING)
            if alive == 0 and (deployment["status"] == _HEALTHY or place in self._asleep):
                asleep.add(place)
            elif place in self._asleep:
                self._registry.number(COLD_STARTS, *place).value += alive
        self._asleep = asleep
        counts.update({(*place, "waiting"): number for place, number in waiting.items()})
        self._registry.show(REPLICAS, counts)


def deployments(applications: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Give all deployments, each with its place; that of a router is the head that it carries."""
    for name, application in applications.items():
        parsed = parse_app(name)
        if parsed is None:
            continue
        graph, part, number = parsed
        revision = serving.router_revision(application) if part == "router" else number
        for segment, deployment in application["deployments"].items():
            segment = HEAD if part == "router" else segment
            yield (graph, str(revision or ""), segment), deployment
