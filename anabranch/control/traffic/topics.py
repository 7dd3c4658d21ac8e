"""Hands routing tables to routers by long poll, and knows which routers have which table.

A poll says which table a router holds: that is its acknowledgement. It also says where the router
answers gRPC, and the front polls for these addresses in the same way. Nothing runs between polls
and changes. Only asyncio, on one loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from anabranch.router.grpc.addresses import Addresses
from anabranch.router.table import RoutingTable

PATIENCE_S = 30.0
"""Longest time that a poll waits for a change."""
_FORGOTTEN_S = 40.0
"""A router that has not polled for so long is gone."""


@dataclass
class _Seen:
    """A router: the table that it holds, when it last said so, and its address for gRPC."""

    generation: int
    at: float
    address: str = ""


@dataclass
class _Topic:
    """All about one graph."""

    table: RoutingTable | None = None
    routers: dict[str, _Seen] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, with every new table."""
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, with every poll."""


class TableTopics:
    """The tables in force. ``patience`` is in seconds, ``clock`` any that only grows."""

    def __init__(
        self, patience: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._topics: dict[str, _Topic] = {}
        # Never one that the hub of a controller before this one has had.
        self._addresses = Addresses(time.time_ns())
        self._moved = asyncio.Event()

    async def table(
        self, graph: str, replica: str, generation: int, address: str = ""
    ) -> RoutingTable | None:
        """A router asks for a table of another generation than the one it holds; 0 is none yet.

        After the hub's patience the answer is the same table again. None: the graph has no table.
        """
        topic = self._topic(graph)
        self._known(topic)[replica] = _Seen(generation, self._clock(), address)
        self._announce()
        topic.polled = _rung(topic.polled)
        if topic.table is None or topic.table.generation == generation:
            # Not wait_for: in Python 3.11 it may swallow a cancellation.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await topic.changed.wait()
        return topic.table

    def leave(self, graph: str, replica: str) -> None:
        """A router has ended: nobody waits for it from now on."""
        topic = self._topic(graph)
        topic.routers.pop(replica, None)
        self._announce()
        topic.polled = _rung(topic.polled)

    async def addresses(self, version: int) -> Addresses:
        """The front asks for addresses of another version than it has; 0 is none yet.

        After the hub's patience the answer is the same again.
        """
        if self._addresses.version == version:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._moved.wait()
        return self._addresses

    def put(self, table: RoutingTable) -> None:
        """Put a table in force, unless a newer one is."""
        topic = self._topic(table.graph)
        if topic.table is None or topic.table.generation < table.generation:
            topic.table = table
            self._announce()
            topic.changed = _rung(topic.changed)

    def drop(self, graph: str) -> None:
        """The graph has no table any more: whoever waits for one is told so."""
        topic = self._topic(graph)
        topic.table = None
        topic.routers.clear()
        self._announce()
        topic.changed = _rung(topic.changed)

    def graphs(self) -> frozenset[str]:
        """Names of the graphs that have a table."""
        return frozenset(name for name, topic in self._topics.items() if topic.table is not None)

    def routers(self, graph: str) -> frozenset[str]:
        """Names of the routers that are there, as far as their polls tell."""
        return frozenset(self._known(self._topic(graph)))

    async def confirmed(self, graph: str, generation: int, timeout: float = 1.0) -> tuple[int, int]:
        """Wait until all routers of a graph have a table, at most ``timeout`` seconds.

        Returns how many have it, of how many there are. Those that have not are taken for gone
        until they poll again.
        """
        topic = self._topic(graph)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._behind(topic, generation):
                    await topic.polled.wait()
        behind = self._behind(topic, generation)
        known = len(topic.routers)
        for replica in behind:
            del topic.routers[replica]
        self._announce()
        return known - len(behind), known

    def _announce(self) -> None:
        """Tell the front where routers are, if that has changed."""
        routers = {
            graph: tuple(seen.address for seen in topic.routers.values() if seen.address)
            for graph, topic in self._topics.items()
            if topic.table is not None
        }
        if routers != self._addresses.routers:
            self._addresses = Addresses(self._addresses.version + 1, routers)
            self._moved = _rung(self._moved)

    def _topic(self, graph: str) -> _Topic:
        return self._topics.setdefault(graph, _Topic())

    def _known(self, topic: _Topic) -> dict[str, _Seen]:
        now = self._clock()
        topic.routers = {
            replica: seen
            for replica, seen in topic.routers.items()
            if now - seen.at <= _FORGOTTEN_S
        }
        return topic.routers

    def _behind(self, topic: _Topic, generation: int) -> list[str]:
        return [
            replica for replica, seen in self._known(topic).items() if seen.generation < generation
        ]


def _rung(event: asyncio.Event) -> asyncio.Event:
    """Wake all who wait for an event, and give the one for what comes next."""
    event.set()
    return asyncio.Event()
