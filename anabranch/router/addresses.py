"""Addresses of the routers of every graph, as the controller tells those who send them requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from anabranch.router.backend import ControlBackend


class Reach(NamedTuple):
    """How a process is reached: from its own node, and from the other nodes of the engine.

    ``node`` is the id of its node as Ray has it, in hex. ``near`` is the address of a Unix socket,
    ``unix@/path``, or ``unix:/path`` for gRPC, and empty where the node has no folder for them;
    ``far`` is ``host:port``, and empty where the engine is on one machine alone.
    """

    node: str = ""
    near: str = ""
    far: str = ""

    def seen_from(self, node: str) -> str:
        """Return the address for a process on a node; empty where it has none yet."""
        is_near = self.near and (self.node == node or not self.far)
        return self.near if is_near else self.far


@dataclass(frozen=True)
class RouterAddress:
    """Where one router answers."""

    grpc: Reach
    http: Reach


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

    def http(self, node: str) -> dict[str, tuple[str, ...]]:
        """Return the addresses for HTTP, by graph, as a node sees them."""
        return {
            graph: tuple(filter(None, (router.http.seen_from(node) for router in routers)))
            for graph, routers in self.routers.items()
        }

    def grpc(self, node: str) -> dict[str, tuple[str, ...]]:
        """Return the addresses for gRPC likewise."""
        return {
            graph: tuple(filter(None, (router.grpc.seen_from(node) for router in routers)))
            for graph, routers in self.routers.items()
        }


class Control(ControlBackend, Protocol):
    """The control plane as the gateway and the front ask it; calls may raise while it is away."""

    @property
    def node(self) -> str:
        """The id of the node on which those run who ask, as ``Reach`` has it."""

    async def addresses(self, version: int) -> Addresses:
        """Wait for addresses of another version than ``version``; 0 stands for none yet.

        After a while they may also be the same ones again.
        """

    async def wake(self, graph: str) -> None:
        """Have a router started of a graph that has none, and return once it answers."""
