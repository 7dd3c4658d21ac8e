"""Shows how much of its ``resources.memory`` the process of a replica takes."""

from __future__ import annotations

import asyncio

import psutil

from anabranch.serve.identity import here
from anabranch.telemetry.activity import ACTIVITY, Pace
from anabranch.telemetry.definitions import REPLICA_MEMORY
from anabranch.telemetry.registry import REGISTRY

INTERVAL_S = 1.0
"""Time between two looks while requests come."""
REST_S = 30.0
"""Longest time between two looks."""


class MemoryUse:
    """Looks at this process, which hosts a segment, for as long as it runs."""

    def __init__(self, segment: str, budget: int) -> None:
        """``budget`` is in bytes, above 0."""
        self._budget = budget
        self._cell = REGISTRY.number(REPLICA_MEMORY, *here(), segment)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pace, process = Pace(ACTIVITY, INTERVAL_S, REST_S), psutil.Process()
        while True:
            self._cell.value = process.memory_info().rss / self._budget
            await pace.next()
