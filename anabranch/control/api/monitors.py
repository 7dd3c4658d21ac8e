"""The control API's endpoint that shows monitors."""

from __future__ import annotations

import asyncio

from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Routes, answer, deleted, views
from anabranch.control.lifecycle.operations import Situation
from anabranch.control.observe.monitors import Monitors, Present


class MonitorApi:
    """Answers what shows monitors.

    | method | path below ``/graphs/<graph>`` | answers |
    |---|---|---|
    | GET | ``/monitors`` | every monitor of the revisions that are up |
    """

    def __init__(self, store: Present, monitors: Monitors) -> None:
        self._store = store
        self._monitors = monitors

    @property
    def routes(self) -> Routes:
        """Endpoints by path below the graph, and by method."""
        return {"/monitors": views(self._show)}

    def drifting(self, now: Situation) -> list[str] | None:
        """The names of a graph's monitors that tell of drift; None where it has no monitors."""
        return self._monitors.drifting(now.graph, now.members)

    async def _show(self, call: ApiCall) -> ApiAnswer:
        now = (await asyncio.to_thread(self._store.situation, call.graph)).situation
        if now.state == "deleted":
            raise deleted(call.graph)
        found = self._monitors.view(call.graph, now.members)
        return answer(200, {"graph": call.graph, "monitors": found})
