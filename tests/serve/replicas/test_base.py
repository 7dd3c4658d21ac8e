"""What replicas have in common, as Serve calls it."""

from __future__ import annotations

import asyncio
import inspect

from anabranch.serve.replicas.base import ComponentReplica
from anabranch.serve.replicas.explainer import ExplainerReplica
from anabranch.serve.replicas.head import HeadReplica
from anabranch.serve.replicas.monitors import MonitorReplica
from anabranch.serve.replicas.router import RouterReplica
from anabranch.serve.replicas.segment import SegmentReplica
from anabranch.serve.scaling.policy import REQUESTS


class Hosted:
    def __init__(self) -> None:
        self.calls: list[object] = []

    async def check_health(self, stuck: str | None = None) -> None:
        self.calls.append(stuck)

    async def unload(self) -> None:
        self.calls.append("unload")


class Replica(ComponentReplica):
    def __init__(self) -> None:
        self._hosted = self.hosted = Hosted()

    def __del__(self) -> None:  # type: ignore[override]
        """Python collects it here; Serve awaits its asynchronous ``__del__`` instead."""

    def _stuck(self) -> str | None:
        return "a thread hangs"

    async def _close(self) -> None:
        self.hosted.calls.append("close")


def test_a_replica_is_checked_counted_and_ended() -> None:
    async def main() -> None:
        replica = Replica()
        replica._requests += 2
        await replica.check_health()
        assert await replica.record_autoscaling_stats() == {REQUESTS: 2}
        await ComponentReplica.__del__(replica)
        assert replica.hosted.calls == ["a thread hangs", "close", "unload"]

    asyncio.run(main())


def test_a_replica_that_never_started_has_nothing_to_end() -> None:
    asyncio.run(ComponentReplica.__del__(Replica.__new__(Replica)))


def test_serve_finds_what_it_calls_by_name_on_every_replica() -> None:
    answering = (SegmentReplica, ExplainerReplica, HeadReplica)
    for kind in (*answering, MonitorReplica, RouterReplica):
        names = ["check_health", "record_autoscaling_stats", "__del__"]
        names += ["record_replica_metadata"] if kind in answering else []
        for name in names:
            assert inspect.iscoroutinefunction(getattr(kind, name)), (kind, name)
