"""Addresses at which the routers of every graph answer gRPC, as the controller tells the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from anabranch.router.gateway.backend import ControlBackend


@dataclass(frozen=True)
class Addresses:
    """The addresses that are known. ``version`` changes with them and is never 0."""

    version: int = 0
    routers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """``host:port`` of each router, by graph; a graph that has a routing table is in it."""


class Control(ControlBackend, Protocol):
    """The control plane as the front asks it; every call may raise while that is away."""

    async def addresses(self, version: int) -> Addresses:
        """Wait for addresses of another version than ``version``; 0 stands for none yet.

        After a while they may also be the same ones again.
        """
        ...

    async def wake(self, graph: str) -> None:
        """Have a router started of a graph that has none, and return once it answers."""
        ...
