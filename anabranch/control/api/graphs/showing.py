"""Endpoints that show graphs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    present,
    views,
    whole_number,
)
from anabranch.control.api.traffic_views import arms_view, mirrors_view, rollout_view
from anabranch.control.api.views import (
    blocked,
    graph_view,
    inlined,
    ready_state,
    revision_view,
    segments_view,
    watch_view,
)
from anabranch.control.lifecycle.operations import Situation
from anabranch.control.models.shared_models import SharedModels, hidden_users
from anabranch.control.observe.monitors import Monitors
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.reconcile.reconciler import Reconciler
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import RevisionInfo, Store, Stored
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.watching.watcher import WatchedModel
from anabranch.errors import AnabranchError
from anabranch.router.backend import GraphState
from anabranch.router.measure.tally import Report

MAX_REVISIONS = 10_000
NEWEST = 100
"""Revisions that are listed unless the query says otherwise."""


@dataclass(eq=False, repr=False)
class GraphApi:
    """Answers what shows graphs.

    | method | path | answers |
    |---|---|---|
    | GET | ``/graphs`` | ``{"graphs": [...]}`` |
    | GET | ``/graphs/<graph>?limit=100`` | traffic, rollout, watches, segments, revisions |
    """

    _url: str
    """That of the gateway."""
    _store: Store
    _releases: Releases
    _reconciler: Reconciler
    _topics: TableTopics
    _totals: ArmTotals
    _monitors: Monitors
    _watching: Callable[[str], list[WatchedModel]]
    _models: SharedModels

    def __post_init__(self) -> None:
        self.routes: Routes = {
            "/graphs": {"GET": Guarded("view", self._list, somewhere=True)},
            GRAPH: views(self._show),
        }

    async def states(self) -> dict[str, GraphState]:
        """Every graph that should be live, for the gateway."""
        return await asyncio.to_thread(self._states)

    def _states(self) -> dict[str, GraphState]:
        apps = self._reconciler.applications
        states: dict[str, GraphState] = {}
        for stored in self._store.situations():
            now = stored.situation
            state = ready_state(now, apps, self._obstacle(now))
            if state is not None:
                state["protocols"] = self._topics.protocols(now.graph)
                state["created"] = stored.created
                states[now.graph] = state
        return states

    def _obstacle(self, now: Situation) -> str:
        """Return why an output of the stable revision cannot be computed; empty if all can."""
        down = self._reconciler.outages.of(now.graph, now.stable)
        if not down or now.stable is None:
            return ""
        try:
            return blocked(self._releases.plan(self._store.revision(now.graph, now.stable)), down)
        except AnabranchError:
            return ""

    async def _list(self, call: ApiCall) -> ApiAnswer:
        shown = await asyncio.to_thread(self._graphs, call)
        views = [
            view
            | {"drifting": self._monitors.drifting(now.graph, now.members)}
            | {"unfollowed": [watch_view(w) for w in self._watching(now.graph) if w.trouble]}
            for now, view in shown
        ]
        return answer(200, {"graphs": views})

    def _graphs(self, call: ApiCall) -> list[tuple[Situation, dict[str, Any]]]:
        stored = self._store.situations()
        seen = [one for one in stored if call.may_view(one.situation.graph)]
        return [(one.situation, self._graph(one)) for one in seen]

    def _graph(self, stored: Stored) -> dict[str, Any]:
        obstacle = self._obstacle(stored.situation)
        return graph_view(stored, self._reconciler.applications, self._url, obstacle)

    async def _show(self, call: ApiCall) -> ApiAnswer:
        limit = whole_number(call.query, "limit", NEWEST, MAX_REVISIONS)
        # Here: the totals are for one thread.
        lately, ever = self._totals.recent(call.graph), self._totals.totals(call.graph)
        return answer(200, await asyncio.to_thread(self._view, call, limit, *lately, ever))

    def _view(
        self, call: ApiCall, limit: int, recent: Report, seconds: float, totals: Report
    ) -> dict[str, Any]:
        name = call.graph
        stored = present(self._store, name)
        users = self._models.users(name)
        seen = [user for user in users if call.may_view(user.graph)]
        now = stored.situation
        apps = self._reconciler.applications
        return {
            **self._graph(stored),
            "inlined": inlined(name, apps),
            "arms": arms_view(now, recent, seconds, totals),
            "mirrors": mirrors_view(now, recent, seconds),
            "rollout": None if now.rollout is None else rollout_view(now.rollout),
            "revisions": [revision_view(one) for one in self._newest(now, limit)],
            "watches": [watch_view(one) for one in self._watching(name)],
            "segments": self._segments(now, apps),
            "models": sorted(map(str, self._models.used_by(now))),
            "users": list(map(str, seen)),
            "hidden_users": hidden_users(users, call.may_view),
        }

    def _newest(self, now: Situation, limit: int) -> list[RevisionInfo]:
        """The newest revisions, and all others that are up or on their way."""
        newest = self._store.revisions(now.graph, limit)
        missing = now.members.keys() - {revision.number for revision in newest}
        others = [self._store.revision(now.graph, one) for one in sorted(missing, reverse=True)]
        return [*newest, *others]

    def _segments(self, now: Situation, apps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the segments of the stable revision, or of the newest one on its way."""
        shown = now.stable if now.stable is not None else max(now.coming, default=None)
        if shown is None:
            return []
        try:
            plan = self._releases.plan(self._store.revision(now.graph, shown))
        except AnabranchError:
            return []
        down = self._reconciler.outages.of(now.graph, shown)
        return segments_view(plan, shown, apps, down, self._reconciler.waiting.of)
