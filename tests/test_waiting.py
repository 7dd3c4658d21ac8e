from __future__ import annotations

import asyncio

import pytest

from anabranch.waiting import within

FOREVER = 600.0


def test_a_wait_ends_with_its_event() -> None:
    async def scenario() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(within(FOREVER, event))
        await asyncio.sleep(0)
        assert not waiting.done()
        event.set()
        await waiting

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
def test_a_wait_ends_without_its_event(seconds: float) -> None:
    async def scenario() -> None:
        event = asyncio.Event()
        await within(seconds, event)
        assert not event.is_set()

    asyncio.run(scenario())


def test_a_wait_is_cancelled_although_its_event_comes_at_the_same_time() -> None:
    async def scenario() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(within(FOREVER, event))
        await asyncio.sleep(0)
        event.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
