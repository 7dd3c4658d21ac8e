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
_short = ThreadPoolExecutor(1, thread_name_prefix="anabranch-short")


async def off_loop(work: Callable[[], T], is_short: bool = False) -> T:
    """Return what ``work`` returns, in a thread; raise what it raises.

    What ``is_short``, a few milliseconds at most, waits for no long work.
    """
    await in_task()
    threads = _short if is_short else _threads
    return await asyncio.get_running_loop().run_in_executor(threads, PULSE.beaten, work)
