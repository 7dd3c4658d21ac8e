"""Takes asynchronous requests from routers within bounds, and tells what became of them."""

from __future__ import annotations

import asyncio
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


class AsyncKeeper:
    """The asynchronous requests of an engine."""

    def __init__(self, settings: Settings, requests: AsyncRequests, worker: AsyncWorker) -> None:
        self._webhooks = settings.webhooks
        self._age, self._most = settings.async_age, settings.async_total
        self._requests = requests
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
        found = await _answered(lambda: self._found(self._requests.withdraw(graph, id, owner), id))
        if isinstance(found, AsyncState) and found.phase == "cancelled":
            self._worker.cancel(id)
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
        waiting, size = self._requests.kept()
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
