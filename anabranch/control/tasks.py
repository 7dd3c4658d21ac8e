"""Work that never ends: started again when it fails, never silently gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("anabranch.control")

_PAUSE_S = 1.0


async def forever(
    name: str, work: Callable[[], Awaitable[object]], pause: float = _PAUSE_S
) -> None:
    """Run ``work`` for ever; log it and begin again ``pause`` seconds later whenever it ends."""
    while True:
        try:
            await work()
            logger.error("%s has ended; starting it again", name)
        except Exception:
            logger.exception("%s has failed; starting it again", name)
        await asyncio.sleep(pause)
