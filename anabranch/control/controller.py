"""The controller: a detached actor that keeps Serve as the store says and answers the API.

Ray starts it again wherever it dies, with the same settings; all that it needs to go on is in the
store and in Serve. Nothing that serves requests needs it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.control.api import Answer, ControlApi
from anabranch.control.reconciler import Reconciler
from anabranch.control.releases import Releases
from anabranch.control.settings import Settings
from anabranch.control.store import Store
from anabranch.router.gateway import GraphState

ACTOR = "anabranch-controller"
NAMESPACE = "anabranch"
_THREADS = 32
"""Serve, the store and installs are waited for in threads, so that the API always answers."""


class Controller:
    """The actor's class."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        store = await asyncio.to_thread(Store.open, settings.store)
        releases = Releases(settings)
        self._reconciler = Reconciler(settings, store, releases)
        self._api = ControlApi(settings, store, releases, self._reconciler)
        self._running = asyncio.create_task(self._reconciler.run())

    async def handle(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Answer a request to the control API that was let in."""
        return await self._api.handle(method, path, query, body)

    async def states(self) -> dict[str, GraphState]:
        """Every graph that should be live, by name."""
        return await self._api.states()

    async def settle(self, timeout: float) -> dict[str, GraphState]:
        """Wait until nothing is left to do, at most ``timeout`` seconds; gives the states then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._reconciler.settled.wait(), timeout)
        return await self.states()


def start_controller(settings: Settings) -> ActorHandle[Any]:
    """The controller, started on the head node if it does not run."""
    head = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(Controller)
    configured = actor.options(
        name=ACTOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(head, soft=True),
    )
    handle: ActorHandle[Any] = configured.remote(settings)
    return handle
