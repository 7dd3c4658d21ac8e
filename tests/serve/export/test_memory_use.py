"""A replica with a budget says how much of it it takes."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from anabranch.serve.export import memory_use
from anabranch.serve.export.memory_use import MemoryUse
from anabranch.telemetry.activity import ACTIVITY
from anabranch.telemetry.definitions import REPLICA_MEMORY
from anabranch.telemetry.registry import REGISTRY
from tests.waiting import until


def ratio() -> float:
    cells = REGISTRY.snapshot()[REPLICA_MEMORY.name]
    found = cells["g", "3", "net"]
    assert isinstance(found, float)
    return found


def test_the_share_follows_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_GRAPH", "g")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    monkeypatch.setattr(memory_use, "INTERVAL_S", 0.01)
    before = psutil.Process().memory_info().rss
    budget = 2 * before

    async def run() -> None:
        use = MemoryUse("net", budget)
        use.start()
        await asyncio.to_thread(until, lambda: 0.25 < ratio() < 0.75)
        kept = bytearray(before // 2 + 2**24)
        kept[:] = b"x" * len(kept)
        ACTIVITY.mark()
        await asyncio.to_thread(until, lambda: ratio() > 0.75)
        use.stop()

    asyncio.run(run())
