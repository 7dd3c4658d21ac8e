"""Addresses of the routers of every graph, as the controller tells those who send them requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from anabranch.router.backend import ControlBackend


@dataclass(frozen=True)
class RouterAddress:
    """Where one router answers."""

    grpc: str
    """``unix:/path`` on the engine's machine, else ``host:port``."""
    http: str
    """``unix@/path`` on the engine's machine, else ``host:port``."""


@dataclass(frozen=True)
class Addresses:
    """The addresses that are known. ``version`` changes with them and is never 0."""

    version: int = 0
    routers: Mapping[str, tuple[RouterAddress, ...]] = field(default_factory=dict)
    """Routers by graph; a graph that has a routing table is in it."""
    idempotent: frozenset[str] = frozenset()
    """Graphs whose requests may be sent to another router where one ended before it answered."""
    longest: Mapping[str, float] = field(default_factory=dict)
    """Seconds within which a router answers each request of a graph, if it answers at all."""


class Control(ControlBackend, Protocol):
    """The control plane as the gateway and the front ask it; calls may raise while it is away."""

    async def addresses(self, version: int) -> Addresses:
        """Wait for addresses of another version than ``version``; 0 stands for none yet.

        After a while they may also be the same ones again.
        """
        ...

    async def wake(self, graph: str) -> None:
        """Have a router started of a graph that has none, and return once it answers."""
        ...
