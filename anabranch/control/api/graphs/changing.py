"""Endpoints that take graphs away, for a while or for good."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from anabranch.control.access.quotas import Quotas
from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    operates,
    present,
)
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Moment, Operation, Situation
from anabranch.control.store.store import Store
from anabranch.control.traffic.bandits import Bandits
from anabranch.control.traffic.experiments import Experiments
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import Conflict


@dataclass(eq=False, repr=False)
class GraphChangeApi:
    """Answers what deletes graphs, takes them down, and brings them back.

    | method | path | answers |
    |---|---|---|
    | DELETE | ``/graphs/<graph>`` | 202; the graph is gone once a GET answers 404 |
    | POST | ``/graphs/<graph>/<load or unload>`` | 202 and the state |
    """

    _store: Store
    _writer: TrafficWriter
    _quotas: Quotas
    _bandits: Bandits
    _experiments: Experiments

    def __post_init__(self) -> None:
        self.routes: Routes = {
            GRAPH: {"DELETE": Guarded("deploy", self._delete)},
            f"{GRAPH}/(?P<action>load|unload)": operates(self._load),
        }

    async def _delete(self, call: ApiCall) -> ApiAnswer:
        await asyncio.to_thread(present, self._store, call.graph)
        await self._writer.change(call.graph, operations.deleted)
        await self._bandits.drop(call.graph)
        await asyncio.to_thread(self._experiments.drop, call.graph)
        return answer(202, {"graph": call.graph, "state": "deleting"})

    async def _load(self, call: ApiCall) -> ApiAnswer:
        """Take a graph down for a while, or bring it back."""
        await asyncio.to_thread(present, self._store, call.graph)
        operation = operations.loaded if call.action == "load" else operations.unloaded
        stored = await self._writer.change(
            call.graph, self._quotas.checked(partial(_kept, operation)), self._quotas.held()
        )
        return answer(202, {"graph": call.graph, "state": stored.situation.state})


def _kept(operation: Operation, now: Situation, moment: Moment) -> Change:
    if now.state in operations.GONE:
        raise Conflict(f"graph {now.graph!r} is being deleted")
    return operation(now, moment)
