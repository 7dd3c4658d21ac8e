"""The controller as the gateway, the front and the edge see it, and the way to wake a graph."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Asker
from anabranch.access.roles import Action
from anabranch.access.table import CLOSED, AccessTable
from anabranch.errors import Unavailable
from anabranch.router.addresses import Addresses
from anabranch.router.backend import ControlAnswer, GraphState
from anabranch.router.following import Follower
from anabranch.router.table import ROUTER
from anabranch.router.traffic.polling import POLL_S
from anabranch.serve.attachment import serve_name
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.calls.handle import ask
from anabranch.serve.edge.tls.copies import VersionedCertificates
from anabranch.serve.node import node_id
from anabranch.telemetry.registry import Snapshot

_RETRY_AFTER = 2
_WAKE_S = 60.0
"""Longest time that a request without a deadline waits for a graph that is scaled to zero."""
_ANSWER_S = 5.0
"""Longest time that the controller may take for what it has at hand."""
_AWAY = "the controller is restarting; try again in a moment"

logger = logging.getLogger("anabranch.serve")


class ControllerLink:
    """Calls of the controller, which may be restarting at any time.

    ``name`` says who follows the addresses and the access table on this node.
    """

    def __init__(self, name: str) -> None:
        self.node = node_id()
        """The id of the node on which this process runs."""
        self._name = f"{name} {self.node}".strip()
        self._controller = ControllerActor()
        self._guard = Guard(CLOSED, renew=self._renew_keys)
        self._access = Follower("access table", self._next_access, self._guard.take)
        self._sleepers: dict[str, _Sleeper] = {}

    def follow(self) -> None:
        """Follow the access table in the background; nobody is known before it has come."""
        self._access.start()

    async def close(self) -> None:
        """Follow no longer."""
        await self._access.close()

    async def graphs(self) -> Mapping[str, GraphState]:
        """Every graph that should be live, by name; Unavailable while the controller restarts."""
        found: Mapping[str, GraphState] = await self._call("states", timeout=_ANSWER_S)
        return found

    async def addresses(self, version: int) -> Addresses:
        """Where routers answer, once that is of another version than ``version``."""
        found: Addresses = await self._call("addresses", self._name, version, timeout=POLL_S)
        return found

    async def certificates(self, version: int) -> VersionedCertificates:
        """The certificates of the head's edge, once they are of another version than ``version``.

        Raises as the controller does where there are none.
        """
        found: VersionedCertificates = await self._call("certificates", version, timeout=POLL_S)
        return found

    async def metrics(self) -> Snapshot:
        """Return the metrics of the engine; Unavailable while the controller restarts."""
        found: Snapshot = await self._call("metrics", timeout=_ANSWER_S)
        return found

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        """Return who asks; Unauthenticated where what is shown is not known."""
        await self._first_access()
        found = await self._guard.renewed(lambda one: self._guard.identify(one, address), shown)
        return Asker(found, address, request_id)

    async def allowed(
        self, action: Action, graph: str, shown: Credentials, address: str, request_id: str
    ) -> Asker:
        """Return who asks, and may do this to a graph; raises as ``Guard.check_of`` does."""
        await self._first_access()
        found = await self._guard.renewed(
            lambda one: self._guard.check_of(graph, action, one, address), shown
        )
        return Asker(found, address, request_id)

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> ControlAnswer:
        """Pass a request on to the control API."""
        asking = asyncio.ensure_future(self._call("handle", method, path, query, body, asker))
        try:
            # It may take long; whether the controller's machine is still there is asked meanwhile.
            while not (await asyncio.wait({asking}, timeout=_ANSWER_S))[0]:
                await self._call("alive", timeout=_ANSWER_S)
            answer: ControlAnswer = await asking
        finally:
            asking.cancel()
        return answer

    async def wake(self, graph: str) -> None:
        """Wait in the queue of the graph's router until there is one; Unavailable if that is full.

        Returns at once where there is nothing to wake, as in a pool: a router comes by itself
        there. All who wait share a handle, for a queue is a handle's.
        """
        sleeper = self._sleepers.get(graph)
        if sleeper is None:
            handle = _router_of(graph)
            if handle is None:
                return
            sleeper = self._sleepers[graph] = _Sleeper(handle)
        sleeper.waiting += 1
        try:
            async with asyncio.timeout(_WAKE_S):
                await ask(ROUTER, sleeper.handle.wake)
        except TimeoutError:
            raise Unavailable(f"graph {graph!r} did not wake within {_WAKE_S:g}s") from None
        except Unavailable as error:
            raise Unavailable(
                f"no replica of graph {graph!r} can take the request now: {error}; try again later"
            ) from None
        finally:
            sleeper.waiting -= 1
            if not sleeper.waiting:
                del self._sleepers[graph]
                self._running = asyncio.ensure_future(sleeper.handle.shutdown_async())

    async def _first_access(self) -> None:
        if not await self._access.first():
            raise Unavailable(_AWAY, _RETRY_AFTER)

    async def _next_access(self, version: int) -> AccessTable:
        found: AccessTable = await self._call("access", "", self._name, version, timeout=POLL_S)
        return found

    async def _renew_keys(self, issuer: str, kid: str) -> None:
        await self._call("renew_keys", issuer, kid)

    async def _call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        try:
            return await self._controller.call(method, *args, timeout=timeout)
        except (ray.exceptions.RayActorError, ValueError, TimeoutError) as error:
            logger.warning("the controller does not answer: %s", error)
            raise Unavailable(_AWAY, _RETRY_AFTER) from None


def _router_of(graph: str) -> Any:
    """Return a handle of a graph's router, or None where that is no deployment of its own."""
    try:
        return serve.get_deployment_handle(ROUTER, serve_name(graph))
    except KeyError:
        return None
    except serve.exceptions.RayServeException:
        raise Unavailable(
            f"no router of graph {graph!r} runs now; try again in a moment", _RETRY_AFTER
        ) from None


@dataclass
class _Sleeper:
    """A graph that is being woken, and for how many calls."""

    handle: Any
    waiting: int = 0
