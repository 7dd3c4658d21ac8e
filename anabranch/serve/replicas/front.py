"""The front for gRPC as a Serve deployment of its own: it dies with no graph; Serve restarts it.

Serve's own proxy for gRPC finds an application by a metadata field that clients of the protocol do
not send.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray import serve

from anabranch.errors import EngineError, Unavailable
from anabranch.router.grpc.servers import FrontServer
from anabranch.router.limits import RequestLimits
from anabranch.router.table import ROUTER
from anabranch.serve.calls.handle import ask
from anabranch.serve.export.logs import write_logs
from anabranch.serve.replicas.gateway import ControllerLink, token_digest
from anabranch.serve.workers.launcher import FORKED

FRONT_APP = "anabranch.grpc"
"""Has a dot, so that no graph can have the same name."""
_GRACE_S = 5.0
_BIND_S = 20.0
"""How long a new front waits for the port: the one before it may still be ending."""
_PAUSE_S = 0.1
_WAKE_S = 60.0
"""Longest time that a call without a deadline waits for a graph that is scaled to zero."""
_HEALTH_PERIOD = 1.0
"""Seconds until Serve sees that a front has died."""


class FrontControl(ControllerLink):
    """The controller as the front sees it, and the way to wake a graph."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self._sleepers: dict[str, _Sleeper] = {}

    async def wake(self, graph: str) -> None:
        """Wait in the queue of the graph's router until there is one; Unavailable if that is full.

        All who wait share a handle, for a queue is a handle's.
        """
        sleeper = self._sleepers.get(graph)
        if sleeper is None:
            handle = serve.get_deployment_handle(ROUTER, graph)
            sleeper = self._sleepers[graph] = _Sleeper(handle)
        sleeper.waiting += 1
        try:
            async with asyncio.timeout(_WAKE_S):
                await ask(ROUTER, sleeper.handle.wake)
        except TimeoutError:
            raise Unavailable(f"graph {graph!r} did not wake within {_WAKE_S:g}s") from None
        finally:
            sleeper.waiting -= 1
            if not sleeper.waiting:
                del self._sleepers[graph]
                self._running = asyncio.ensure_future(sleeper.handle.shutdown_async())


@dataclass
class _Sleeper:
    """A graph that is being woken, and for how many calls."""

    handle: Any
    waiting: int = 0


class FrontReplica:
    """The one replica of the front."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, digest: str, host: str, port: int, limits: RequestLimits
    ) -> None:
        write_logs()
        self._server = FrontServer(FrontControl(digest), limits)
        await _patiently(self._server, host, port)

    async def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            await server.stop(_GRACE_S)


async def _patiently(server: FrontServer, host: str, port: int) -> None:
    """Start the server as soon as the port is free; EngineError where that takes too long."""
    ends = asyncio.get_running_loop().time() + _BIND_S
    while True:
        try:
            await server.start(host, port)
            return
        except EngineError:
            if asyncio.get_running_loop().time() > ends:
                raise
        await asyncio.sleep(_PAUSE_S)


def front_app(token: str, host: str, port: int, limits: RequestLimits) -> serve.Application:
    """The front's Serve application, which has no route; it runs on the engine's own machine."""
    decorate: Any = serve.deployment(
        name="front",
        ray_actor_options={
            "num_cpus": 0,
            "resources": {"node:__internal_head__": 0.001},
            "runtime_env": FORKED,
        },
        max_ongoing_requests=100,
        health_check_period_s=_HEALTH_PERIOD,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=2 * _GRACE_S,
    )
    return decorate(FrontReplica).bind(  # type: ignore[no-any-return]
        token_digest(token), host, port, limits
    )
