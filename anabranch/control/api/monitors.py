"""The control API's endpoint that shows monitors."""

from __future__ import annotations

import asyncio

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Routes,
    answer,
    present,
    views,
)
from anabranch.control.observe.monitors import Monitors
from anabranch.control.store.store import Store


class MonitorApi:
    """Answers what shows monitors.

    | method | path below ``/graphs/<graph>`` | answers |
    |---|---|---|
    | GET | ``/monitors`` | every monitor of the revisions that are up |
    """

    def __init__(self, store: Store, monitors: Monitors) -> None:
        self._store = store
        self._monitors = monitors
        self.routes: Routes = {f"{GRAPH}/monitors": views(self._show)}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        stored = await asyncio.to_thread(present, self._store, call.graph)
        found = self._monitors.view(call.graph, stored.situation.members)
        return answer(200, {"graph": call.graph, "monitors": found})
