"""Asks HAProxy whether it answers, and ends one that does not, or that the kernel has stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from anabranch.errors import EngineError
from anabranch.serve.edge.process import EdgeProcess
from anabranch.serve.edge.runtime_api import RuntimeApi

PAUSE_S = 1.0
SILENT_S = 5.0
"""Time for an answer, twice in a row, in seconds: its end breaks all connections."""
LOOK_S = 0.3
"""Pause between two looks at its state, in seconds; one that is stopped in both is ended."""
_AGAIN_S = 0.1

logger = logging.getLogger("anabranch.serve")


async def end_if_silent(api: RuntimeApi, running: Callable[[], EdgeProcess]) -> None:
    """Ask the HAProxy that runs, again and again, for ever; end one that does not answer.

    It is asked twice: the first time it may be this process that has waited for a processor.
    """
    while True:
        await asyncio.sleep(PAUSE_S)
        process = running()
        if await _is_silent(api, process) and await _is_silent(api, process):
            logger.error("HAProxy has not answered for %gs; ending it", 2 * SILENT_S)
            process.kill()


async def end_if_stopped(running: Callable[[], EdgeProcess]) -> None:
    """Look at the HAProxy that runs, again and again, for ever; end one that stays stopped."""
    before = None
    while True:
        await asyncio.sleep(LOOK_S)
        process = running()
        stopped = process if process.stopped else None
        if stopped is not None and stopped is before:
            logger.error("HAProxy is stopped; ending it")
            stopped.kill()
        before = stopped


async def _is_silent(api: RuntimeApi, process: EdgeProcess) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(SILENT_S):
            while not process.ended:
                with suppress(EngineError):
                    await api.pid()
                    return False
                await asyncio.sleep(_AGAIN_S)
    return not process.ended
