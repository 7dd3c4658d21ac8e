"""The controller's actor, as other processes call it: from threads, and from an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray

from anabranch.errors import RequestError
from anabranch.router.measure.tally import Report
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.feedback import RewardEntry, RewardOutcome
from anabranch.router.traffic.learned_state import Lessons
from anabranch.router.traffic.polling import ASK_S, LEAVE_S, POLL_S, RETRY_S, SEND_S, line_of

logger = logging.getLogger("anabranch.router")

ACTOR = "anabranch-controller"
NAMESPACE = "anabranch"


class ControllerCalls:
    """Calls of the controller that wait for its answer; for one thread, and never an event loop's.

    It may be away at any time. Whoever asks says again later what did not arrive.
    """

    def __init__(self) -> None:
        self._actor: Any = None

    def ask(self, method: str, *arguments: object, timeout: float) -> Any:
        """What a method answers within ``timeout`` seconds; raises where the controller is away."""
        if self._actor is None:
            self._actor = ray.get_actor(ACTOR, NAMESPACE)
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout)
        except Exception:
            self._actor = None
            raise


class ControllerSource:
    """The controller's actor.

    ``replica`` names the router among those of its graph; nobody else tells or counts anything.
    """

    def __init__(self, graph: str, replica: str = "") -> None:
        self.address = ""
        """Where the router answers gRPC, once it does; polls tell it."""
        self.breaks = 0
        self._graph = graph
        self._replica = replica
        self._actor: Any = None

    async def next(self, generation: int) -> RoutingTable | None:
        """Wait for a table, for as long as the controller is away too."""
        while True:
            try:
                table: RoutingTable | None = await self._call(
                    POLL_S, "table", generation, self.address
                )
            except Exception as error:
                logger.info("no table from the controller: %s", line_of(error))
                self.breaks += 1
                await asyncio.sleep(RETRY_S)
            else:
                return table

    async def report(self, report: Report) -> None:
        """Send the sums; raises where the controller is away."""
        await self._call(SEND_S, "report", report)

    async def remember(self, made: Sequence[tuple[str, bytes]]) -> None:
        """Send decisions; raises where the controller is away."""
        await self._call(SEND_S, "remember", made)

    async def recall(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Ask for decisions of other routers; raises likewise."""
        found: Sequence[bytes | None] = await self._call(ASK_S, "recall", ids)
        return found

    async def reward(
        self, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        """Have rewards counted; raises likewise."""
        found: Sequence[RewardOutcome | RequestError] = await self._call(ASK_S, "reward", entries)
        return found

    async def learned(self, version: int) -> Lessons:
        """Wait for what routers of the graph have learned; raises likewise."""
        found: Lessons = await self._call(POLL_S, "learned", version)
        return found

    async def leave(self) -> None:
        """Say that this router ends, so that no change waits for it; it matters little if that is
        not heard.
        """
        with suppress(Exception):
            async with asyncio.timeout(LEAVE_S):
                await self._actor.leave.remote(self._graph, self._replica)

    async def _call(self, seconds: float, method: str, *arguments: object) -> Any:
        async with asyncio.timeout(seconds):
            if self._actor is None:
                self._actor = await asyncio.to_thread(ray.get_actor, ACTOR, NAMESPACE)
            try:
                call = getattr(self._actor, method).remote
                return await call(self._graph, self._replica, *arguments)
            except Exception:
                self._actor = None
                raise
