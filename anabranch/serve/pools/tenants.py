"""Starts and ends the graphs of a pool as its table says; each graph by itself.

A graph that changes is started anew beside the one that answers, which ends once the new one
answers. One that cannot start changes nothing for the others, nor for what it was to replace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from anabranch.serve.pools.entries import PoolTable, Status, TenantEntry, TenantState

logger = logging.getLogger("anabranch.serve")


class Tenant(Protocol):
    """A graph that answers."""

    async def check_health(self) -> None:
        """Raise what is wrong with it."""

    async def close(self) -> None:
        """Let its requests end, and release what it holds."""


Build: TypeAlias = Callable[[TenantEntry], Awaitable[Tenant]]
"""Starts a graph; returns once it answers, or raises the reason why it cannot."""


@dataclass
class _Place:
    """A graph's place in the pool: what is wanted there, and what runs."""

    wanted: TenantEntry | None
    state: TenantState | None = None
    tenant: Tenant | None = None
    task: asyncio.Task[None] | None = None


class Tenants:
    """The graphs of one process. ``changed`` is called whenever the state of one has changed."""

    def __init__(self, build: Build, changed: Callable[[], None]) -> None:
        self._build = build
        self._changed = changed
        self._places: dict[str, _Place] = {}
        self._building = asyncio.Lock()
        """One after the other: code of bundles is loaded, which must not mix."""

    @property
    def states(self) -> Mapping[str, TenantState]:
        """How the graphs are doing that were asked for, by name."""
        return {graph: one.state for graph, one in self._places.items() if one.state is not None}

    async def apply(self, table: PoolTable) -> None:
        """Begin to make it so; returns at once."""
        for graph in dict.fromkeys([*self._places, *table.tenants]):
            place = self._places.setdefault(graph, _Place(None))
            place.wanted = table.tenants.get(graph)
            if place.task is None:
                place.task = asyncio.create_task(self._follow(graph, place))

    async def check_health(self) -> None:
        """Mark the graphs that are unwell as failed; raises nothing, since the others go on."""
        for graph, place in tuple(self._places.items()):
            if place.tenant is None or place.task is not None or place.state is None:
                continue
            try:
                await place.tenant.check_health()
            except Exception as error:
                logger.warning("graph %r is unwell: %s", graph, error)
                self._note(place, place.state.entry, "failed", str(error))
            else:
                self._note(place, place.state.entry, place.state.status, place.state.reason)

    async def close(self) -> None:
        """End all graphs."""
        await self.apply(PoolTable(0, {}))
        while tasks := [one.task for one in self._places.values() if one.task is not None]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, graph: str, place: _Place) -> None:
        """Make it as is wanted until it is."""
        try:
            while place.wanted != (place.state and place.state.entry):
                if place.wanted is None:
                    await self._end(place)
                else:
                    await self._start(place, place.wanted)
        finally:
            place.task = None
            if place.state is None:
                self._places.pop(graph, None)
                self._changed()

    async def _start(self, place: _Place, entry: TenantEntry) -> None:
        self._note(place, entry, "deploying")
        try:
            async with self._building:
                if place.wanted != entry:
                    return
                started = await self._build(entry)
        except Exception as error:
            logger.warning("graph %r cannot start in its pool: %s", entry.graph, error)
            self._note(place, entry, "failed", str(error))
            return
        before, place.tenant = place.tenant, started
        self._note(place, entry, "running")
        if before is not None:
            await _closed(before)

    async def _end(self, place: _Place) -> None:
        before, place.tenant, place.state = place.tenant, None, None
        if before is not None:
            await _closed(before)

    def _note(self, place: _Place, entry: TenantEntry, status: Status, reason: str = "") -> None:
        state = TenantState(entry, status, reason)
        if state != place.state:
            place.state = state
            self._changed()


async def _closed(tenant: Tenant) -> None:
    try:
        await tenant.close()
    except Exception:
        logger.exception("a graph that has left its pool did not end well")
