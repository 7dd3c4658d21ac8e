"""The control API's endpoint that names other pages about the engine."""

from __future__ import annotations

import asyncio

from anabranch.client.connection.engine_state import read_state
from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer
from anabranch.control.settings.settings import Settings
from anabranch.telemetry.dashboards import DASHBOARDS, uid


class LinkApi:
    """Answers where other pages are.

    | method | path | answers |
    |---|---|---|
    | GET | ``/links`` | ``{"ray", "grafana"}``, null where there is no such page |

    ``ray`` is the URL of Ray's dashboard. ``grafana`` has the URLs of the dashboards that
    ``anabranch dashboards export`` writes for the metrics of the gateway, ``overview``, ``graph``
    and ``rollout``; each takes the name of a graph as ``?var-graph=``.
    https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/create-dashboard-url-variables/
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.routes: Routes = {"/links": {"GET": Guarded("view", self._show, somewhere=True)}}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        state = await asyncio.to_thread(read_state, self._settings.home)
        ray = None if state is None else state.dashboard
        return answer(200, {"ray": ray or None, "grafana": self._dashboards()})

    def _dashboards(self) -> dict[str, str] | None:
        base = self._settings.grafana.rstrip("/")
        return {one: f"{base}/d/{uid(one)}" for one in DASHBOARDS} if base else None
