"""Waits that have an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, at most some seconds. To be called in a task."""
    # Not wait_for: in Python 3.11 it may swallow a cancellation.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
