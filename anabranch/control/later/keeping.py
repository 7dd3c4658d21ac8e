"""Takes asynchronous requests from routers within bounds, and tells what became of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from anabranch.control.later.worker import AsyncWorker
from anabranch.control.settings.destinations import allowed, shown
from anabranch.control.settings.settings import Settings
from anabranch.control.store.async_requests import AsyncRequests
from anabranch.errors import InvalidRequest, NotFound, RequestError, Unavailable
from anabranch.router.later import AsyncAnswer, AsyncRequest, AsyncState

MOST_WAITING = 10_000
"""Most requests of the engine that are not over."""
FORGETTING_S = 60.0
"""Time between two looks for requests that were over long ago."""
_REST = 20
"""A count of what is kept is good for so many times the time that it took."""


class KeptRequests:
    """How much is kept. To count that reads all requests, so it takes a small part of the time:
    in between, what comes is added to the last count. For several threads.
    """

    def __init__(
        self, count: Callable[[], tuple[int, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = self._size = 0
        self._due = float("-inf")

    def add(self, size: int, most: float) -> tuple[int, int]:
        """Count a request of ``size`` bytes if there is room; return what was kept before it.

        There is no room beyond ``MOST_WAITING`` requests and ``most`` bytes; what is not counted
        now is never a reason to say so.
        """
        with self._lock:
            if self._clock() >= self._due or not self._has_room(size, most):
                self._count_now()
            found = self._waiting, self._size
            if self._has_room(size, most):
                self._waiting, self._size = self._waiting + 1, self._size + size
        return found

    def _has_room(self, size: int, most: float) -> bool:
        return self._waiting < MOST_WAITING and self._size + size <= most

    def _count_now(self) -> None:
        began = self._clock()
        self._waiting, self._size = self._count()
        now = self._clock()
        self._due = now + _REST * (now - began)


class AsyncKeeper:
    """The asynchronous requests of an engine."""

    def __init__(self, settings: Settings, requests: AsyncRequests, worker: AsyncWorker) -> None:
        self._webhooks = settings.webhooks
        self._age, self._most = settings.async_age, settings.async_total
        self._requests = requests
        self._kept = KeptRequests(requests.kept)
        self._worker = worker

    async def submit(self, graph: str, request: AsyncRequest) -> AsyncAnswer:
        """Keep a request, to be answered later."""
        found = await _answered(lambda: self._submitted(graph, request))
        self._worker.wake()
        return found

    async def look(self, graph: str, id: str, owner: str | None) -> AsyncAnswer:
        """Return what became of a request."""
        return await _answered(lambda: self._found(self._requests.find(graph, id, owner), id))

    async def withdraw(self, graph: str, id: str, owner: str | None) -> AsyncAnswer:
        """Cancel a request, or forget its reply."""
        is_cancelled = False

        def withdrawn() -> AsyncState:
            nonlocal is_cancelled
            state, is_cancelled = self._requests.withdraw(graph, id, owner)
            return self._found(state, id)

        found = await _answered(withdrawn)
        if is_cancelled:
            self._worker.cancel(graph, id)
        return found

    async def forget(self) -> None:
        """Remove requests that were over long ago, for ever."""
        while True:
            await asyncio.to_thread(self._requests.forget, time.time() - self._age)
            await asyncio.sleep(FORGETTING_S)

    def _submitted(self, graph: str, request: AsyncRequest) -> AsyncState:
        if request.webhook and not allowed(request.webhook, self._webhooks):
            known = ", ".join(self._webhooks) or "nothing"
            raise InvalidRequest(
                f"header X-Anabranch-Webhook: {shown(request.webhook)[:256]!r} is not below what "
                f"ANABRANCH_WEBHOOKS allows: {known}"
            )
        waiting, size = self._kept.add(len(request.body), self._most)
        if waiting >= MOST_WAITING:
            raise Unavailable(f"{waiting} asynchronous requests wait, and no more are taken", 60)
        if size + len(request.body) > self._most:
            raise Unavailable(
                f"asynchronous requests and their replies take {size} bytes, and "
                f"ANABRANCH_ASYNC_TOTAL is {self._most:.0f}; replies go when they are deleted, or "
                f"after {self._age:g}s",
                60,
            )
        return self._requests.add(graph, request)

    def _found(self, state: AsyncState | None, id: str) -> AsyncState:
        if state is None:
            raise NotFound(
                f"there is no asynchronous request {id!r} of yours; replies are kept for "
                f"{self._age:g}s"
            )
        return state


async def _answered(work: Callable[[], AsyncState]) -> AsyncAnswer:
    try:
        return await asyncio.to_thread(work)
    except (RequestError, Unavailable) as error:
        return error
