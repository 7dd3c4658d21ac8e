"""Actors that have a name, as other processes call them: from threads, and from an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from anabranch.access.table import AccessTable
from anabranch.errors import RequestError
from anabranch.router.addresses import RouterAddress
from anabranch.router.later import AsyncAnswer, AsyncRequest
from anabranch.router.measure.tally import Report
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.feedback import RewardEntry, RewardOutcome
from anabranch.router.traffic.learned_state import Lessons
from anabranch.router.traffic.polling import ASK_S, LEAVE_S, POLL_S, SEND_S

ACTOR = "anabranch-controller"
NAMESPACE = "anabranch"
_AGAIN_S = 0.5
"""Time before a router that ends tells a controller again that was away. By then the edges, which
try every fifth of a second, have asked it for addresses, so that it waits for them.
"""


class NamedActor:
    """Calls of the actor of a name, from one thread or one event loop.

    It may be away at any time, and is looked for again after each call that failed. Whoever calls
    says again later what did not arrive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._actor: Any = None
        self._looking: asyncio.Future[Any] | None = None

    def ask(self, method: str, *arguments: object, timeout: float) -> Any:
        """Block until a method has answered, at most ``timeout`` seconds; not for event loops."""
        with self._forgotten_if_away():
            return ray.get(getattr(self._found(), method).remote(*arguments), timeout=timeout)

    async def call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        """Await what a method answers within ``timeout`` seconds, or without limit."""
        async with asyncio.timeout(timeout):
            with self._forgotten_if_away():
                actor = self._actor or await self._looked_up()
                return await getattr(actor, method).remote(*arguments)

    async def _looked_up(self) -> Any:
        """Look for the actor once for all who wait: where Ray's GCS is away, that takes a thread
        for as long.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._found))
        return await asyncio.shield(self._looking)

    def _found(self) -> Any:
        if self._actor is None:
            self._actor = ray.get_actor(self._name, NAMESPACE)
        return self._actor

    @contextmanager
    def _forgotten_if_away(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._actor = None
            raise


class ControllerActor(NamedActor):
    """Calls of the controller."""

    def __init__(self) -> None:
        super().__init__(ACTOR)


class ControllerSource:
    """The controller, as what hosts a graph's routers asks it.

    ``replica`` names the router among those of its graph; nobody else tells or counts anything.
    """

    def __init__(self, graph: str, replica: str = "") -> None:
        self.address: RouterAddress | None = None
        """Where the router answers, once it does; polls tell it."""
        self.breaks = 0
        self._graph = graph
        self._replica = replica
        self._controller = ControllerActor()

    async def next(self, generation: int) -> RoutingTable | None:
        """Wait for a table; raises where the controller is away, and counts that."""
        try:
            table: RoutingTable | None = await self._call(POLL_S, "table", generation, self.address)
        except Exception:
            self.breaks += 1
            raise
        return table

    async def report(self, report: Report) -> int:
        """Send the sums, and return how many routers the graph has; raises likewise."""
        routers: int = await self._call(SEND_S, "report", report)
        return routers

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

    async def access(self, version: int) -> AccessTable:
        """Wait for an access table of another version than ``version``; raises likewise."""
        found: AccessTable = await self._call(POLL_S, "access", version)
        return found

    async def renew_keys(self, issuer: str, kid: str) -> None:
        """Have an issuer of JWTs asked for its keys; raises likewise."""
        await self._controller.call("renew_keys", issuer, kid, timeout=ASK_S)

    async def learned(self, version: int) -> Lessons:
        """Wait for what routers of the graph have learned; raises likewise."""
        found: Lessons = await self._call(POLL_S, "learned", version)
        return found

    async def submit(self, request: AsyncRequest) -> AsyncAnswer:
        """Have a request kept that is to be answered later; raises likewise."""
        found: AsyncAnswer = await self._call(ASK_S, "submit", request)
        return found

    async def look(self, id: str, owner: str | None) -> AsyncAnswer:
        """Ask what became of an asynchronous request; raises likewise."""
        found: AsyncAnswer = await self._call(ASK_S, "look", id, owner)
        return found

    async def withdraw(self, id: str, owner: str | None) -> AsyncAnswer:
        """Have an asynchronous request cancelled, or its reply forgotten; raises likewise."""
        found: AsyncAnswer = await self._call(ASK_S, "withdraw", id, owner)
        return found

    async def leave(self) -> None:
        """Say that this router ends, so that no change waits for it and nobody sends it requests.

        Returns once that is so. A controller that is away is told once it is back, and again when
        those who send requests have had the time to ask it; one that has gone is not told, nor one
        that is away for more than ``ASK_S``.
        """
        self.address = None
        patience, was_away = time.monotonic() + ASK_S, False
        while True:
            try:
                await self._call(LEAVE_S + ASK_S, "leave")
                if not was_away:
                    return
                was_away = False
            except ValueError:  # Ray's, for an actor that is not there any more
                return
            except Exception:
                if time.monotonic() >= patience:
                    return
                was_away = True
            await asyncio.sleep(_AGAIN_S)

    async def _call(self, seconds: float, method: str, *arguments: object) -> Any:
        return await self._controller.call(
            method, self._graph, self._replica, *arguments, timeout=seconds
        )
