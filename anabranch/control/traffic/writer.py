"""Writes changes to graphs: store, routing table, then those who watch.

Changes of one graph happen one after the other, so that its tables go out in their order. A change
that has begun is put in force, also where the one who asked for it has gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

from anabranch.control.lifecycle.operations import Change, Moment, Operation, Situation
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.store.store import Check, Store, Stored
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.control.traffic.tables import Catalogue, build, grace
from anabranch.control.traffic.topics import TableTopics
from anabranch.router.table import RoutingTable

logger = logging.getLogger("anabranch.control")

_NOTHING = nullcontext()


@dataclass(eq=False, repr=False)
class TrafficWriter:
    """Applies lifecycle operations."""

    _store: Store
    _catalogue: Catalogue
    _topics: TableTopics
    _totals: ArmTotals
    _keys: SigningKeys
    _check: Check
    """Has the last word on what an operation makes of a graph."""
    _checking: AbstractContextManager[object]
    """Nobody makes another change that is checked so while it is held."""
    _default_grace: float
    """In seconds."""
    clock: Callable[[], float] = time.time
    """Gives the Unix time that all changes are made at."""

    def __post_init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Only those in use: graphs that nobody has are asked for too."""
        self._under_way: set[asyncio.Task[Stored]] = set()
        self._in_force: dict[str, int] = {}
        """The generation of each graph that was last put in force."""

    def watch(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change."""
        self._listeners.append(listener)

    async def change(
        self,
        graph: str,
        operation: Operation,
        held: AbstractContextManager[None] = _NOTHING,
    ) -> Stored:
        """Apply an operation and put its outcome in force.

        Raises what the operation raises, and what the checks have against its outcome.
        The operation is applied while ``held`` is held, by a thread, and not if that raises.
        """
        return await self._to_the_end(graph, partial(self._changed, graph, operation, held))

    async def publish(self, graph: str) -> None:
        """Put in force what the store says of a graph; for what was written there directly."""
        await self._to_the_end(graph, partial(self._store.situation, graph))

    async def until_in_force(self, graph: str, routers: int) -> None:
        """Wait until what the store says of a graph now is in force, if it can be put so.

        ``routers`` is how many run. Those that do not take it within five seconds are not waited
        for.
        """
        async with self._lock(graph):
            generation = self._in_force.get(graph, 0)
        await self._topics.until_held(graph, generation, routers)

    async def catch_up(self, stored: Stored) -> None:
        """Put in force what is not yet, as where the database went away right after a change."""
        if self._is_news(stored):
            async with self._lock(stored.situation.graph):
                if self._is_news(stored):
                    await self._put(stored)

    def _is_news(self, stored: Stored) -> bool:
        return self._in_force.get(stored.situation.graph, 0) < stored.generation

    async def publish_all(self) -> None:
        """Put in force all that the store says."""
        for stored in await asyncio.to_thread(self._store.situations):
            await self.publish(stored.situation.graph)

    def _lock(self, graph: str) -> asyncio.Lock:
        return self._locks.setdefault(graph, asyncio.Lock())

    async def _to_the_end(self, graph: str, work: Callable[[], Stored]) -> Stored:
        """Do work on the store and put its outcome in force, also if the caller is cancelled."""
        task = asyncio.create_task(self._done(graph, work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _done(self, graph: str, work: Callable[[], Stored]) -> Stored:
        async with self._lock(graph):
            stored = await asyncio.to_thread(work)
            await self._put(stored)
        for listener in self._listeners:
            listener()
        return stored

    def _changed(
        self, graph: str, operation: Operation, held: AbstractContextManager[None]
    ) -> Stored:
        with held, self._checking:
            return self._store.change(graph, partial(self._applied, operation))

    def _applied(self, operation: Operation, now: Situation) -> Change:
        change = self._tried(operation, now)
        self._check(now, change.situation)
        return change

    def _tried(self, operation: Operation, now: Situation) -> Change:
        """Apply an operation with the grace period of the policy in force.

        That may be the policy of a revision that only the operation makes an arm, so it is tried
        first to see.
        """
        moment = Moment(self.clock(), self._default_grace)
        tried = operation(now, moment)
        period = grace(
            now.weights, tried.situation.weights, self._catalogue.of(now.graph), self._default_grace
        )
        if period == self._default_grace:
            return tried
        return operation(now, replace(moment, grace=period))

    def _table(self, stored: Stored) -> RoutingTable | None:
        return build(stored, self._catalogue.of(stored.situation.graph), self._keys.current)

    async def _put(self, stored: Stored) -> None:
        graph = stored.situation.graph
        try:
            table = await asyncio.to_thread(self._table, stored)
        except Exception:
            logger.exception("%s: no routing table", graph)
            return
        if table is None:
            self._topics.drop(graph)
            self._totals.forget(graph)
        else:
            self._topics.put(table)
        self._in_force[graph] = stored.generation
