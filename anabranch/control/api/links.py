"""The control API's endpoint that names other pages about the engine."""

from __future__ import annotations

import asyncio

from anabranch.client.connection.engine_state import read_state
from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer
from anabranch.control.settings.settings import Settings


class LinkApi:
    """Answers where other pages are.

    | method | path | answers |
    |---|---|---|
    | GET | ``/links`` | ``{"ray", "grafana"}``: URLs, null where there is no such page |
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def routes(self) -> Routes:
        """Endpoints by path and by method."""
        return {"/links": {"GET": Guarded("view", self._show, somewhere=True)}}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        state = await asyncio.to_thread(read_state, self._settings.home)
        ray = None if state is None else state.dashboard
        return answer(200, {"ray": ray or None, "grafana": self._settings.grafana or None})
