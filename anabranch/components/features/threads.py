"""Stores whose library blocks, called in threads: a call that hangs keeps its thread alone."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from anabranch.components.features.keys import Key
from anabranch.components.features.stores import StoredRows

T = TypeVar("T")

THREADS = 8
"""Most calls of one store at the same time."""


class ThreadedStore(ABC):
    """A store that knows the past; calls that wait are dropped once nobody waits for them."""

    def __init__(self, node: str) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"anabranch-lookup-{node}")

    async def open(self) -> None:
        """Connect, and check what can be; CannotLoad for what is wrong with the options."""
        await self._run(self._open)

    async def fetch(self, keys: Sequence[Key]) -> StoredRows:
        """Return the rows of different keys as they are now."""
        return await self._run(lambda: self._fetch(keys))

    async def as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        """Return for each key the latest row at or before its time, in Unix seconds."""
        return await self._run(lambda: self._as_of(keys, times))

    async def close(self) -> None:
        """Let the threads go, without waiting for calls that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._guarded, call)

    @abstractmethod
    def _open(self) -> None:
        """Read what the store holds; CannotLoad where it lacks what is asked for."""

    @abstractmethod
    def _fetch(self, keys: Sequence[Key]) -> StoredRows:
        """Do the work of ``fetch``."""

    @abstractmethod
    def _as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        """Do the work of ``as_of``."""

    @abstractmethod
    def _guarded(self, call: Callable[[], T]) -> T:
        """Call; raise Unavailable where the library says that the store is away."""
