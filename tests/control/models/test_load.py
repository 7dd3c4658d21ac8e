"""The load of shared models, from sums of processes that only grow."""

from __future__ import annotations

import asyncio

import pytest

from anabranch.control.models.load import ModelLoad, UserLoad
from anabranch.serve.shared.use import ModelUse
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import Registry, Snapshot


def test_rates_are_of_the_time_between_two_looks() -> None:
    registry, now = Registry(), [0.0]
    load = ModelLoad(registry.snapshot, lambda: ["fraud"], lambda: now[0])
    pay, claim = ModelUse("fraud", "pay", registry), ModelUse("fraud", "claim", registry)
    other = ModelUse("churn", "pay", registry)
    assert load.by_user("fraud") == {}

    for _ in range(3):
        pay.answered(1, 0.5)
    load.look()
    now[0] = 4.0
    for _ in range(8):
        pay.answered(2, 0.25)
    claim.failed(2, ValueError())
    other.answered(1, 1.0)
    load.look()

    found = load.by_user("fraud")
    assert found["pay"]._replace(seconds=None) == UserLoad(11, 0, 2.0, None)
    assert found["pay"].seconds == pytest.approx((1.5 + 2.0) / 11)
    assert found["claim"] == UserLoad(1, 1, 0.25, None)
    assert found.keys() == {"pay", "claim"}


def test_calls_that_wait_or_run_are_those_of_all_replicas() -> None:
    registry = Registry()
    registry.number(definitions.NODE_IN_FLIGHT, "fraud", "1", "model").value = 2
    registry.number(definitions.NODE_IN_FLIGHT, "fraud", "2", "model").value = 3
    registry.number(definitions.NODE_IN_FLIGHT, "churn", "1", "model").value = 5
    assert ModelLoad(registry.snapshot, lambda: ["fraud"]).in_flight("fraud") == 5


def test_no_sums_are_taken_until_there_is_a_model() -> None:
    asyncio.run(_wait_for_a_model())


async def _wait_for_a_model() -> None:
    registry, models = Registry(), list[str]()
    looked, taken = asyncio.Event(), asyncio.Event()

    def names() -> list[str]:
        loop.call_soon_threadsafe(looked.set)
        return list(models)

    def snapshot() -> Snapshot:
        taken.set()
        return registry.snapshot()

    loop, load = asyncio.get_running_loop(), ModelLoad(snapshot, names)
    running = asyncio.create_task(load.run())
    async with asyncio.timeout(60):
        await looked.wait()
    assert not taken.is_set()
    models.append("fraud")
    load.wake()
    async with asyncio.timeout(60):
        await taken.wait()
    running.cancel()
