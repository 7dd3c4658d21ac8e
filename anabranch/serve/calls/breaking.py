"""Circuit breakers around the replicas that Serve chooses between.

Serve's own choice leaves out replicas that have died. One whose calls time out gets fewer of them,
for it seems to have a long queue, but Serve forgets that within seconds; and one that is out of
reach seems to be idle, as its calls fail fast.

Serve makes its choice in the process that calls, with the class below, which it sends there.
"""

from __future__ import annotations

import random
import time
from typing import Any

from ray import cloudpickle
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

from anabranch.serve.calls.attempts import current
from anabranch.serve.calls.breaker import Breakers
from anabranch.specs.models import Scaling


def router_options(scaling: Scaling | None) -> dict[str, Any]:
    """The options of a Serve deployment that guard its replicas; none for a single one."""
    most = 1 if scaling is None else scaling.max or scaling.replicas or 1
    if most == 1:
        return {}
    config = RequestRouterConfig()
    # By its name, Serve refuses a class of one's own for an application's first deployment, lest
    # HAProxy pass it by. Ours have no route: all of their calls go through handles.
    sent: bytes = cloudpickle.dumps(BreakingRouter)  # type: ignore[no-untyped-call]
    config.set_serialized_request_router_cls(sent)
    return {"request_router_config": config}


class BreakingRouter(PowerOfTwoChoicesRequestRouter):
    """Serve's choice by the power of two, among those replicas whose breakers admit a call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._breakers = Breakers()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Serve's hook: replicas to try, best first in groups."""
        groups = await super().choose_replicas(candidate_replicas, pending_request)
        if self._breakers.are_closed:
            return groups
        self._breakers.keep([one.unique_id for one in self._replicas])
        return [self._admitted(group) for group in groups]

    def _admitted(self, group: list[RunningReplica]) -> list[RunningReplica]:
        """The group without replicas that may get no call, or else one that may."""
        every = {one.unique_id: replica for one, replica in self._replicas.items()}
        names = set(self._breakers.admitted(every, time.monotonic()))
        found = [one for one in group if one.replica_id.unique_id in names]
        others = [replica for name, replica in every.items() if name in names]
        return found or random.sample(others, min(1, len(others)))

    async def _choose_replica_for_request(
        self, pending_request: PendingRequest, *, is_retry: bool = False
    ) -> RunningReplica:
        """Note which replica a call gets: Serve has no public hook that knows both."""
        replica = await super()._choose_replica_for_request(pending_request, is_retry=is_retry)
        attempt = current()
        if attempt is not None:
            attempt.sent(self._breakers, replica.replica_id.unique_id)
        return replica

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Serve's hook: the replica is gone for good."""
        super().on_replica_actor_died(replica_id)
        self._breakers.keep([one.unique_id for one in self._replicas])
