"""Runs work that never ends, and waits for events that may never come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from anabranch.access.actor import ACTOR, ENGINE

logger = logging.getLogger("anabranch.control")

_PAUSE_S = 1.0


async def forever(
    name: str, work: Callable[[], Awaitable[object]], pause: float = _PAUSE_S
) -> None:
    """Run ``work`` for ever; log it and begin again ``pause`` seconds later whenever it ends.

    The work acts as the engine, whoever has started it. To be run as a task of its own.
    """
    ACTOR.set(ENGINE)
    while True:
        try:
            await work()
            logger.error("%s has ended; starting it again", name)
        except Exception:
            logger.exception("%s has failed; starting it again", name)
        await asyncio.sleep(pause)


async def within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, at most some seconds."""
    # Not wait_for: in Python 3.11 it may swallow a cancellation.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
