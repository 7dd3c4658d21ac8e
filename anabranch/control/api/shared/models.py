"""``GET /control/v1/models``: the shared models with their replicas, memory, users and load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer
from anabranch.control.lifecycle.operations import Situation
from anabranch.control.models.load import ModelLoad, UserLoad
from anabranch.control.models.shared_models import ModelUser, SharedModels, hidden_users
from anabranch.control.reconcile import serving
from anabranch.control.store.store import Store
from anabranch.router.table import app_name
from anabranch.specs.shared.document import NODE

_NOTHING = UserLoad(0, 0, 0.0, None)


@dataclass(eq=False, repr=False)
class ModelApi:
    """Shows shared models."""

    _store: Store
    _models: SharedModels
    _load: ModelLoad
    _memory: Callable[[], Mapping[tuple[str, int], int]]
    """Returns bytes by model and revision."""
    _applications: Callable[[], Mapping[str, Any]]

    def __post_init__(self) -> None:
        self.routes: Routes = {"/models": {"GET": Guarded("view", self._list, somewhere=True)}}

    async def _list(self, call: ApiCall) -> ApiAnswer:
        situations = await asyncio.to_thread(self._store.situations)
        found = [one.situation for one in situations if call.may_view(one.situation.graph)]
        named = await asyncio.to_thread(lambda: [m for m in found if self._models.is_model(m)])
        memory = await asyncio.to_thread(self._memory)
        users = await asyncio.to_thread(
            lambda: {now.graph: self._models.users(now.graph) for now in named}
        )
        return answer(200, {"models": [self._view(m, users[m.graph], memory, call) for m in named]})

    def _view(
        self,
        now: Situation,
        users: list[ModelUser],
        memory: Mapping[tuple[str, int], int],
        call: ApiCall,
    ) -> dict[str, Any]:
        load = self._load.by_user(now.graph)
        held = Counter(one.reference.revision for one in users)
        seen = sorted({one.graph for one in users if call.may_view(one.graph)})
        return {
            "model": now.graph,
            "state": now.state,
            "live": now.stable,
            "revisions": [
                {
                    "revision": number,
                    "state": now.members[number].state,
                    "replicas": self._running(now.graph, number),
                    "memory": memory.get((now.graph, number)),
                    "held_by": held.get(number, 0),
                }
                for number in sorted(now.members)
            ],
            "users": [_user(name, users, load.get(name, _NOTHING)) for name in seen],
            "hidden_users": hidden_users(users, call.may_view),
            "per_second": sum(one.per_second for one in load.values()),
            "in_flight": self._load.in_flight(now.graph),
        }

    def _running(self, model: str, number: int) -> int:
        application = self._applications().get(app_name(model, "segments", number), {})
        deployment = application.get("deployments", {}).get(NODE, {})
        return serving.replica_states(deployment)["running"]


def _user(name: str, users: list[ModelUser], load: UserLoad) -> dict[str, Any]:
    own = [one for one in users if one.graph == name]
    return {
        "graph": name,
        "revisions": sorted({one.revision for one in own}),
        "references": sorted({str(one.reference) for one in own}),
        **load._asdict(),
    }
