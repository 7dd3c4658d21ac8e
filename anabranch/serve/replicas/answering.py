"""What replicas have in common that answer calls of other replicas at a socket of their own."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.router.addresses import Reach
from anabranch.serve.calls.membership import REACH
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.node import forget, own_listeners, own_places
from anabranch.serve.replicas.base import ComponentReplica
from anabranch.serve.scaling.policy import ONGOING
from anabranch.serve.streams.served import Method, StreamMethod
from anabranch.serve.streams.server import CallServer


class AnsweringReplica(ComponentReplica):
    """Base of replicas that answer calls; they call ``_answer`` once all is loaded."""

    _server: CallServer | None = None
    _reach = Reach()
    _drain_s = 0.0
    """Longest time that calls get to end once the replica is to go, in seconds."""

    async def record_replica_metadata(self) -> dict[str, tuple[str, ...]]:
        """Serve's hook for what callers must know; those ask it themselves who wait for one."""
        return {REACH: tuple(self._reach)}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        stats = await super().record_autoscaling_stats()
        return stats | {ONGOING: 0 if self._server is None else self._server.under_way}

    async def _answer(
        self, methods: Mapping[str, Method], streams: Mapping[str, StreamMethod], drain_s: float
    ) -> None:
        """Answer calls of these methods from now on."""
        server = CallServer(methods, streams, call_secret())
        listeners, self._reach = own_listeners(own_places())
        self._server, self._drain_s = server, drain_s
        for one in listeners:
            await server.listen(*one)

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.close(self._drain_s)
            forget(self._reach)
