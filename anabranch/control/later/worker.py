"""Has routers answer the asynchronous requests in the store, a few at a time.

A request goes the way of all others, with the lowest priority, and as whoever has the engine's
token: whether its caller may ask was decided when it came. What was not sent, or may be sent again,
is tried again later, each time after a longer pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

from anabranch.control.later.metrics import AsyncMetrics, Outcome, outcome_of
from anabranch.control.store.async_requests import AsyncRequests, DueRequest, KeptReply
from anabranch.control.tasks import WokenLoop
from anabranch.errors import AnabranchError, Unavailable
from anabranch.router.errors import error_reply
from anabranch.router.gateway.http_router import RouterEnded

T = TypeVar("T")
logger = logging.getLogger("anabranch.control")

MOST = 16
"""Most requests that are answered at a time."""
MOST_OF_GRAPH = 4
ATTEMPTS = 20
"""After so many attempts, the last reply counts."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
_LOOK_S, _REST_S = 0.5, 10.0
"""Seconds between two looks for requests that are due, with and without requests that wait."""
_COUNT_S = 5.0
"""Seconds between two counts of the requests that are not over."""
_RETRY_S = 2.0
_BUSY = 503
Send: TypeAlias = Callable[[DueRequest], Awaitable[KeptReply]]
"""Has a router answer a request; raises as ``Forwarder.forward`` does."""


class AsyncWorker(WokenLoop[tuple[str, str]]):
    """Answers requests until it is cancelled; calls ``on_over`` on its loop once any is over.

    Their evaluations are by graph and id.
    """

    def __init__(
        self,
        requests: AsyncRequests,
        send: Send,
        on_over: Callable[[], None],
        metrics: AsyncMetrics | None = None,
    ) -> None:
        super().__init__()
        self._requests = requests
        self._send = send
        self._on_over = on_over
        self._metrics = metrics or AsyncMetrics()
        self._count_at = float("-inf")

    def cancel(self, graph: str, id: str) -> None:
        """End the evaluation of a request that was cancelled."""
        self._over(graph, "cancelled")
        if (graph, id) in self._tasks:
            self._tasks[graph, id].cancel()

    async def run(self) -> None:
        """Answer for ever; first go on with what another has left running."""
        for graph in await _noted(self._requests.recover):
            self._over(graph, "lost")
        await super().run()

    async def _round(self) -> float:
        """Look once; a store that does not answer must not end what is being evaluated."""
        try:
            return await self._look()
        except Unavailable as error:
            logger.warning("cannot look for asynchronous requests: %s", error)
            return _RETRY_S

    async def _look(self) -> float:
        """Begin what is due; return how long to wait until the next look, in seconds."""
        free = MOST - len(self._tasks)
        if free > 0:
            graphs = Counter(graph for graph, _ in self._tasks)
            full = [graph for graph, count in graphs.items() if count >= MOST_OF_GRAPH]
            for one in await asyncio.to_thread(self._claimed, free, full):
                self._start((one.graph, one.id), self._answer(one))
        if time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + _COUNT_S
            self._metrics.open(await asyncio.to_thread(self._requests.open))
        waits = await asyncio.to_thread(self._requests.has_waiting)
        return _LOOK_S if waits else _REST_S

    def _claimed(self, free: int, full: list[str]) -> list[DueRequest]:
        if not self._requests.has_waiting():
            return []
        return self._requests.due(time.time(), min(free, MOST_OF_GRAPH), full)

    def _over(self, graph: str, outcome: Outcome) -> None:
        self._metrics.ended(graph, outcome)
        self._on_over()

    async def _answer(self, one: DueRequest) -> None:
        found = await self._outcome(one)
        if found is None:
            if await _noted(partial(self._requests.lose, one.id)):
                self._over(one.graph, "lost")
            return
        reply, is_final = found
        if is_final or one.attempts + 1 >= ATTEMPTS:
            if await _noted(partial(self._requests.finish, one.id, reply)):
                self._over(one.graph, outcome_of(reply.status))
        else:
            due_at = time.time() + pause(one.attempts)
            await _noted(partial(self._requests.postpone, one.id, due_at))

    async def _outcome(self, one: DueRequest) -> tuple[KeptReply, bool] | None:
        """Return the reply to a request, and whether it is the last word.

        None where nobody knows how far the evaluation came, and it may not be repeated.
        """
        may_repeat = one.request.idempotent
        try:
            reply = await self._send(one)
            return reply, reply.status != _BUSY or not may_repeat
        except RouterEnded as error:
            return (kept_error(error, one.id), False) if may_repeat else None
        except AnabranchError as error:  # where it is Unavailable, nothing was sent
            return kept_error(error, one.id), not isinstance(error, Unavailable)
        except Exception as error:
            logger.exception("request %s: its evaluation has ended unexpectedly", one.id)
            return (kept_error(error, one.id), False) if may_repeat else None


async def _noted(write: Callable[[], T]) -> T:
    """Write to the store, again and again while that does not answer."""
    while True:
        try:
            return await asyncio.to_thread(write)
        except Unavailable as error:
            logger.warning("what became of an asynchronous request has to wait: %s", error)
        await asyncio.sleep(_RETRY_S)


def pause(failed: int) -> float:
    """Return the seconds to wait after so many failures before this one."""
    return float(min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S))


def kept_error(error: Exception, id: str) -> KeptReply:
    """Return an error as the reply that is kept."""
    reply = error_reply(error, id)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers]
    return KeptReply(reply.status, tuple(headers), bytes(reply.body))
