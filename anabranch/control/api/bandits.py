"""The control API's endpoints that show what routers have learned from rewards.

| method | path below ``/graphs/<graph>`` | body | answers |
|---|---|---|---|
| GET | ``/bandits`` | | every router that learns, of all revisions that are up |
| POST | ``/bandits/reset`` | ``{"router": "chooser"}``; all of them if left out | the same |

For each router there is its strategy, and for each of its routes how many rewards there were, the
expected reward, where that is with 95 %, the share of the requests that it gets now, and the
parameters of what is believed. Revisions that go on with each other's state and decide alike are
shown as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Routes,
    answer,
    operates,
    present,
    read_body,
    views,
)
from anabranch.control.lifecycle.operations import Situation
from anabranch.control.store.store import Store
from anabranch.control.timestamps import timestamp
from anabranch.control.traffic.bandits import Bandits, Key, Row, read_state
from anabranch.control.traffic.tables import Catalogue, Find
from anabranch.errors import NotFound
from anabranch.graph.plan.learners import LearningRouter
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Model, NodeName


class _Reset(Model):
    router: NodeName | None = None


@dataclass
class _Shown:
    """A router that learns, and the revisions in which it does so."""

    router: str
    learner: LearningRouter
    revisions: list[int]


class BanditApi:
    """Answers what shows and resets what was learned."""

    def __init__(self, store: Store, catalogue: Catalogue, bandits: Bandits) -> None:
        self._store = store
        self._catalogue = catalogue
        self._bandits = bandits
        self.routes: Routes = {
            f"{GRAPH}/bandits": views(self._show),
            f"{GRAPH}/bandits/reset": operates(self._reset),
        }

    async def _show(self, call: ApiCall) -> ApiAnswer:
        return answer(200, await asyncio.to_thread(self._view, call.graph))

    async def _reset(self, call: ApiCall) -> ApiAnswer:
        router = read_body(call.body, _Reset).router
        shown = await asyncio.to_thread(self._shown, call.graph)
        known = {one.router for one in shown}
        if not known:
            raise NotFound(f"graph {call.graph!r} has no router that learns")
        if router is not None and router not in known:
            raise NotFound(f"no router that learns is called {router!r}{hint(router, known)}")
        await self._bandits.reset(call.graph, router)
        return await self._show(call)

    def _shown(self, graph: str) -> list[_Shown]:
        return learning(present(self._store, graph).situation, self._catalogue.of(graph))

    def _view(self, graph: str) -> dict[str, Any]:
        shown, states = self._shown(graph), self._bandits.states(graph)
        return {"graph": graph, "bandits": [bandit_view(one, states) for one in shown]}


def learning(now: Situation, find: Find) -> list[_Shown]:
    """The routers that learn in what is up, or on its way; of the newest revision first."""
    found: list[_Shown] = []
    for number in sorted(now.members, reverse=True):
        outline = find(number)
        for router, learner in (outline.learners if outline is not None else {}).items():
            same = [one for one in found if one.router == router and one.learner.is_like(learner)]
            if same:
                same[0].revisions.append(number)
            else:
                found.append(_Shown(router, learner, [number]))
    return found


def bandit_view(shown: _Shown, states: Mapping[Key, Row]) -> dict[str, Any]:
    """A router for people and programs; ``states`` are all those of its graph."""
    learner, key = shown.learner, (shown.router, shown.learner.key)
    row = states.get(key)
    standings = learner.bandit.standings(read_state(key, learner, row))
    return {
        "router": shown.router,
        "strategy": learner.spec.strategy,
        "revisions": sorted(shown.revisions),
        "rewards": sum(one.rewards for one in standings.values()),
        "updated_at": None if row is None else timestamp(row[1]),
        "routes": [{"route": route, **asdict(one)} for route, one in standings.items()],
    }
