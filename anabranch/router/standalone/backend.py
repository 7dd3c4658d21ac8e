"""What the gateway and gRPC's server ask of the control plane, where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Asker
from anabranch.access.roles import Action
from anabranch.errors import NotFound, Unavailable
from anabranch.router.backend import GraphState
from anabranch.router.gateway.repository import absent
from anabranch.router.http.request import HttpRequest
from anabranch.router.measure.metrics import Metrics
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry.registry import REGISTRY, Snapshot

NO_ENGINE = (
    "this process serves one graph without an engine: deploy the graph to an engine "
    "(`anabranch up`, `anabranch deploy`) for the control API and the console"
)


class StandaloneBackend:
    """The ``ControlBackend`` of a process with one graph; ``guard`` is that of the process."""

    def __init__(self, arms: Arms, guard: Guard) -> None:
        self._arms = arms
        self._guard = guard
        self._metrics = Metrics(arms.name)
        self.table: RoutingTable
        """The table that is in force."""

    is_told = True
    """All graphs are known: for ``GraphForwarder``, as ``forward``."""

    async def forward(self, graph: str, request: HttpRequest) -> NoReturn:
        """Refuse a request for another graph."""
        raise absent(graph, await self.graphs())

    async def graphs(self) -> Mapping[str, GraphState]:
        """Return the one graph."""
        arms = self._arms
        table = self.table
        return {
            arms.name: {
                "revision": table.stable,
                "live": True,
                "ready": not (reason := self._reason()),
                "reason": reason,
                "protocols": arms.protocols,
                "created": table.created,
            }
        }

    def _reason(self) -> str:
        try:
            self._arms.check_ready()
        except Unavailable as error:
            return str(error)
        return ""

    async def metrics(self) -> Snapshot:
        """Return what this process has counted."""
        self._metrics.weights(self.table)
        self._metrics.flush(self._arms.report())
        return REGISTRY.snapshot()

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        """Return who asks; Unauthenticated where what is shown is not known."""
        return Asker(self._guard.identify(shown, address), address, request_id)

    async def allowed(
        self, action: Action, graph: str, shown: Credentials, address: str, request_id: str
    ) -> Asker:
        """Return who asks, and may do this to a graph; raises as ``Guard.check_of`` does."""
        return Asker(self._guard.check_of(graph, action, shown, address), address, request_id)

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> NoReturn:
        """Refuse a request to the control API."""
        raise NotFound(NO_ENGINE)
