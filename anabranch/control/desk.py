"""The one place where changes to graphs are made: store, routing table, and whoever must know.

Changes of one graph happen one after the other, so that its tables go out in their order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from anabranch.control.hub import Hub
from anabranch.control.ledger import Ledger
from anabranch.control.lifecycle import Change, Situation
from anabranch.control.store import Store, Stored
from anabranch.control.tables import Catalogue, build, grace

logger = logging.getLogger("anabranch.control")

Timed: TypeAlias = Callable[[Situation, float, float], Change]
"""A change of a situation, at a Unix time, with a grace period in seconds."""


class Desk:
    """Applies lifecycle operations. ``default_grace`` is in seconds, ``clock`` gives Unix time."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        hub: Hub,
        ledger: Ledger,
        default_grace: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hub = hub
        self._ledger = ledger
        self._default = default_grace
        self.clock = clock
        """Gives the time that all changes are made at."""
        self._listeners: list[Callable[[], None]] = []
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def watch(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change."""
        self._listeners.append(listener)

    async def change(self, graph: str, operation: Timed) -> Stored:
        """Apply an operation and put its outcome in force; raises what the operation raises."""
        async with self._locks[graph]:
            stored = await asyncio.to_thread(
                self._store.change, graph, lambda now: self._timed(now, operation)
            )
            await self._put(stored)
        return stored

    async def publish(self, graph: str) -> None:
        """Put in force what the store says of a graph; for what was written there directly."""
        async with self._locks[graph]:
            await self._put(await asyncio.to_thread(self._store.situation, graph))

    async def publish_all(self) -> None:
        """Put in force all that the store says."""
        for stored in await asyncio.to_thread(self._store.situations):
            await self.publish(stored.situation.graph)

    def _timed(self, now: Situation, operation: Timed) -> Change:
        """Apply an operation with the grace period of the policy in force.

        That may be the policy of a revision that only the operation makes an arm, so it is tried
        first to see.
        """
        at = self.clock()
        tried = operation(now, at, self._default)
        period = grace(
            now.weights, tried.situation.weights, self._catalogue.of(now.graph), self._default
        )
        return tried if period == self._default else operation(now, at, period)

    async def _put(self, stored: Stored) -> None:
        graph = stored.situation.graph
        try:
            table = await asyncio.to_thread(build, stored, self._catalogue.of(graph))
        except Exception:
            logger.exception("%s: no routing table", graph)
        else:
            if table is None:
                self._hub.drop(graph)
                self._ledger.forget(graph)
            else:
                self._hub.put(table)
        for listener in self._listeners:
            listener()
