"""Endpoints that show what is of no single graph: what is kept, namespaces, traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from anabranch.control.access.quotas import Quotas
from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer, views
from anabranch.control.housekeeping import KeptItems
from anabranch.control.observe.traces import RecentTraces
from anabranch.names import every_graph_of


class EngineApi:
    """Answers what shows the engine.

    | method | path | answers |
    |---|---|---|
    | GET | ``/kept`` | ``{"kept": [...]}``: what is kept, and its bounds, see ``housekeeping`` |
    | GET | ``/namespaces`` | ``{"namespaces": [...]}``, each with ``use`` and ``limits`` |
    | GET | ``/traces/<trace id>`` | ``{"trace_id", "spans": [...]}``, see ``traces`` |
    """

    def __init__(
        self, kept: Callable[[], list[KeptItems]], quotas: Quotas, traces: RecentTraces
    ) -> None:
        self._kept = kept
        self._quotas = quotas
        self._traces = traces
        self.routes: Routes = {
            "/kept": views(self._keeps),
            "/namespaces": {"GET": Guarded("view", self._namespaces, somewhere=True)},
            "/traces/(?P<trace>[0-9a-f]{32})": views(self._trace),
        }

    async def _keeps(self, call: ApiCall) -> ApiAnswer:
        found = await asyncio.to_thread(self._kept)
        return answer(200, {"kept": [asdict(one) for one in found]})

    async def _namespaces(self, call: ApiCall) -> ApiAnswer:
        """Show those of which the asker may view all graphs."""
        found = await asyncio.to_thread(self._quotas.view)
        seen = [one for one in found if call.may_view(every_graph_of(one["namespace"]))]
        return answer(200, {"namespaces": seen})

    async def _trace(self, call: ApiCall) -> ApiAnswer:
        return answer(200, self._traces.view(call.trace))
