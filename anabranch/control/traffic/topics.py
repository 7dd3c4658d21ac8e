"""Topics of routing tables, one a graph, and the topic of the addresses of all routers.

Routers tell their addresses along when they poll for their graph's table; followers, which send
requests to routers, poll for all addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from anabranch.control.traffic.topic import CONFIRMATION_S, PATIENCE_S, Topic, first_version
from anabranch.router.addresses import Addresses, RouterAddress
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.polling import LEAVE_S
from anabranch.specs.models import ProtocolName

TableTopic: TypeAlias = Topic[RoutingTable | None]


class TableTopics:
    """The tables in force. ``patience`` is in seconds, ``clock`` any that only grows."""

    def __init__(
        self, patience: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._topics: dict[str, TableTopic] = {}
        version = first_version()
        self._addresses = Topic(version, Addresses(version), patience, clock)
        self._listeners: list[Callable[[], None]] = []

    def watch(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever routers have come or gone."""
        self._listeners.append(listener)

    async def table(
        self,
        graph: str,
        replica: str,
        generation: int,
        address: RouterAddress | None = None,
        is_router: bool = True,
    ) -> RoutingTable | None:
        """Wait for a table of another generation than the one a router holds; 0 is none yet.

        After the topic's patience the answer is the same table again. None: the graph has no table.
        What is no router calls revisions by the table, and takes no requests.
        """
        topic = self._topic(graph)
        topic.heard(replica, generation, address, is_router)
        self._announce()
        found = await topic.next(generation)
        return None if found is None else replace(found, routers=max(1, topic.routers))

    async def leave(self, graph: str, replica: str, timeout: float = LEAVE_S) -> None:
        """Forget a router that ends: nobody waits for it from now on.

        Returns once all who follow the addresses know, at most ``timeout`` seconds later: then no
        more requests are sent to it.
        """
        self._topic(graph).leave(replica)
        self._announce()
        await self._addresses.confirmed(self._addresses.version, timeout)

    async def addresses(self, follower: str, version: int) -> Addresses:
        """Wait for addresses of another version than a follower has; 0 is none yet.

        After the topic's patience the answer is the same again.
        """
        self._addresses.heard(follower, version)
        return await self._addresses.next(version)

    def routers(self, graph: str) -> int:
        """Return how many routers of a graph ask for its tables, at least 1.

        One that has ended without a word counts for ``FORGOTTEN_S``.
        """
        topic = self._topics.get(graph)
        return max(1, topic.routers) if topic else 1

    def put(self, table: RoutingTable) -> None:
        """Put a table in force, unless a newer one is."""
        topic = self._topic(table.graph)
        if topic.version < table.generation:
            topic.put(table.generation, table)
            self._announce()

    def drop(self, graph: str) -> None:
        """Take a graph's table out of force: polls that wait for one get None."""
        topic = self._topic(graph)
        topic.put(0, None)
        for replica in tuple(topic.pollers()):
            topic.leave(replica)
        self._announce()

    def graphs(self) -> frozenset[str]:
        """Return the names of the graphs that have a table."""
        return frozenset(name for name, topic in self._topics.items() if topic.value is not None)

    def protocols(self, graph: str) -> tuple[ProtocolName, ...]:
        """Return the protocols of a graph's stable revision; none where it has no table."""
        topic = self._topics.get(graph)
        table = None if topic is None else topic.value
        stable = None if table is None else table.revisions.get(table.stable)
        return () if stable is None else stable.protocols

    async def confirmed(
        self, graph: str, generation: int, timeout: float = CONFIRMATION_S
    ) -> tuple[int, int]:
        """Wait until all routers of a graph have a table, see ``Topic.confirmed``."""
        found = await self._topic(graph).confirmed(generation, timeout)
        self._announce()
        return found

    async def until_held(self, graph: str, generation: int, routers: int) -> None:
        """Wait until all routers of a graph have a table, five seconds at most.

        There are at least so many ``routers``, some of which may not have asked for it yet.
        """
        await self._topic(graph).until_held(generation, CONFIRMATION_S, routers)

    def _announce(self) -> None:
        """Tell the followers where routers are, if that has changed."""
        tables = {graph: one.value for graph, one in self._topics.items() if one.value is not None}
        known = self._addresses.value
        found = Addresses(
            known.version,
            {graph: self._topics[graph].addresses for graph in tables},
            frozenset(graph for graph, table in tables.items() if table.is_idempotent),
            {graph: table.longest for graph, table in tables.items()},
        )
        if found != known:
            version = known.version + 1
            self._addresses.put(version, replace(found, version=version))
            for listener in self._listeners:
                listener()

    def _topic(self, graph: str) -> TableTopic:
        return self._topics.setdefault(graph, Topic(0, None, self._patience, self._clock))
