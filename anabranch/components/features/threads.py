"""Threads of one store whose library blocks; a call that hangs keeps its thread, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

THREADS = 8
"""Most calls of one store at the same time."""


class StoreThreads:
    """Runs blocking calls; those that wait are dropped where nobody waits for them any more."""

    def __init__(self, node: str) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"anabranch-lookup-{node}")

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Return what a call returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    def close(self) -> None:
        """Let the threads go, without waiting for calls that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)
