"""The control plane as the gateway asks it, and the state of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, TypedDict

from anabranch.router.errors import Headers, HttpReply
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


class ControlBackend(Protocol):
    """The control plane as the gateway asks it."""

    async def graphs(self) -> Mapping[str, GraphState]:
        """Return every graph that should be live, by name."""
        ...

    async def metrics(self) -> Snapshot:
        """Return what the engine's processes have counted, as one."""
        ...

    def refusal(self, headers: Mapping[str, str]) -> HttpReply | None:
        """Return the answer for a caller who may not use the control API; None for who may.

        It is asked before the body is read. Headers have names in lower case.
        """
        ...

    async def handle(self, method: str, path: str, query: str, body: bytes) -> ControlAnswer:
        """Answer a request to the control API.

        ``path`` is what follows ``/control/v1`` and starts with ``/``; ``query`` is undecoded.
        Errors of ``anabranch.errors`` may be raised.
        """
        ...
