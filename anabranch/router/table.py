"""The routing table of a graph: the small immutable value that says where its requests go.

The controller makes it from the store; every router replica holds the latest one that it got by
long poll, and keeps it if the controller dies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from anabranch.graph.plan.plan import Signature
from anabranch.router.signing import SigningKey
from anabranch.specs.models import Traffic

ROUTER = "router"
"""Name of the deployment of a graph's router in its Serve application."""
Part: TypeAlias = Literal["router", "segments", "head"]


def app_name(graph: str, part: Part, revision: int) -> str:
    """Name of the Serve application of a part: ``digits``, ``digits.r3``, ``digits.r3.head``."""
    return {
        "router": graph,
        "segments": f"{graph}.r{revision}",
        "head": f"{graph}.r{revision}.head",
    }[part]


@dataclass(frozen=True)
class RoutingTable:
    """Destinations of the requests of one graph."""

    graph: str
    generation: int
    """Grows with every change."""
    stable: int
    """The revision that routers carry, or are about to."""
    weights: Mapping[int, float]
    """Arms: revision and relative weight, at least 0, with a positive sum."""
    mirrors: Mapping[int, float] = field(default_factory=dict)
    """Revisions that get copies, and of what share of the requests, in percent."""
    revisions: Mapping[int, Signature] = field(default_factory=dict)
    """Every revision that can be reached, by weight, as a mirror or directly."""
    policy: Traffic = field(default_factory=Traffic)
    """Stickiness, rules and tolerances: those of the newest arm."""
    sketch: bool = False
    """Whether to keep the distribution of outputs per arm."""
    keys: tuple[SigningKey, ...] = ()
    """Keys of the signatures in replies, the newest first; routers need one."""
    routers: int = 1
    """Routers of the graph that the controller knows, the one that gets this table included."""

    @property
    def version(self) -> int:
        """The generation, for those who follow the table."""
        return self.generation

    @property
    def is_idempotent(self) -> bool:
        """Whether a request may be evaluated again, whichever revision it meets."""
        return bool(self.revisions) and all(one.idempotent for one in self.revisions.values())

    @property
    def longest(self) -> float:
        """Longest time that a request or an explanation may take, in seconds."""
        times = [one.timeout for one in self.revisions.values()]
        terms = [each for one in self.revisions.values() for each in one.explainers.values()]
        return max([*times, *(each.timeout for each in terms)], default=0.0)

    @property
    def candidate(self) -> int | None:
        """The newest arm that is not the stable one, whatever its weight."""
        return max((number for number in self.weights if number != self.stable), default=None)
