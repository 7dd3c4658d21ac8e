"""Work on large bodies, off the event loop: small requests are answered meanwhile.

Few threads do it, so what they need at a time is bounded, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from anabranch.graph.calls.stepping import in_task
from anabranch.pulse import PULSE

T = TypeVar("T")
THREADS = 2
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="anabranch-large")


async def off_loop(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, in a thread; raise what it raises."""
    await in_task()
    return await asyncio.get_running_loop().run_in_executor(_threads, PULSE.beaten, work)
