"""The control plane as the gateway asks it, and the state of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, Protocol, TypeAlias, TypedDict

from anabranch.access.guard import Credentials
from anabranch.access.identity import Asker
from anabranch.access.roles import Action
from anabranch.router.errors import Headers
from anabranch.specs.models import ProtocolName
from anabranch.telemetry.registry import Snapshot

ControlAnswer: TypeAlias = tuple[int, Headers, bytes]
"""An answer of the control API: status, headers, body."""


class GraphState(TypedDict):
    """The state of a graph; ``reason`` says why it is not ready.

    ``revision`` is the stable one, or the first, still on its way; ``live`` tells whether it should
    answer: not while the first is on its way, nor when the graph is unloaded.
    """

    revision: int
    live: bool
    ready: bool
    reason: str
    protocols: NotRequired[tuple[ProtocolName, ...]]
    """Protocols that the stable revision names, where its table is in force."""
    created: NotRequired[float]
    """When the graph was created, in seconds since 1970."""


class ControlBackend(Protocol):
    """The control plane as the gateway asks it."""

    async def graphs(self) -> Mapping[str, GraphState]:
        """Return every graph that should be live, by name."""

    async def metrics(self) -> Snapshot:
        """Return what the engine's processes have counted, as one."""

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        """Return who asks; Unauthenticated where what is shown is not known."""

    async def allowed(
        self, action: Action, graph: str, shown: Credentials, address: str, request_id: str
    ) -> Asker:
        """Return who asks, and may do this to a graph; raises as ``Guard.check_of`` does."""

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> ControlAnswer:
        """Answer a request to the control API, as far as who asks may ask that.

        ``path`` is what follows ``/control/v1`` and starts with ``/``; ``query`` is undecoded.
        Errors of ``anabranch.errors`` may be raised.
        """
