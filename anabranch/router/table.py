"""The routing table of a graph: the small immutable value that says where its requests go.

The controller makes it from the store; every router replica holds the latest one that it got by
long poll, and keeps it if the controller dies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from anabranch.graph.plan.plan import Signature
from anabranch.names import PART, slashless, with_slash
from anabranch.router.signing import SigningKey
from anabranch.specs.models import Traffic

ROUTER = "router"
"""Name of the deployment of a graph's router in its Serve application."""
Part: TypeAlias = Literal["router", "segments", "head"]
_APP = re.compile(rf"(?P<graph>{PART}(?:_{PART})?)(?:\.r(?P<revision>[0-9]+)(?P<head>\.head)?)?")


def router_app(graph: str) -> str:
    """Name of the Serve application of a graph's router: ``digits``, ``team_digits``."""
    return slashless(graph)


def app_name(graph: str, part: Part, revision: int) -> str:
    """Name of the Serve application of a part: ``digits``, ``digits.r3``, ``digits.r3.head``."""
    router = router_app(graph)
    return {
        "router": router,
        "segments": f"{router}.r{revision}",
        "head": f"{router}.r{revision}.head",
    }[part]


def parse_app(name: str) -> tuple[str, Part, int | None] | None:
    """Graph, part and revision of an application's name; None if it is not of a graph."""
    match = _APP.fullmatch(name)
    if match is None:
        return None
    number = match["revision"]
    part: Part = "router" if number is None else "head" if match["head"] else "segments"
    return with_slash(match["graph"]), part, None if number is None else int(number)


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
    created: float = 0.0
    """When the graph was created, as a Unix time."""

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
