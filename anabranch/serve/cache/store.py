"""What stores of answers have in common: answers are written off the event loop, a little later."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.wire import Digest
from anabranch.telemetry.outlet import Outlet

_PAUSE_S = 0.02
"""Time in which answers gather to be written together."""
_MOST = 4096
"""Most answers that wait to be written."""


class KeptAnswer(NamedTuple):
    """An answer that is kept, and for how many seconds more."""

    data: bytes
    seconds: float


class AnswerWrite(NamedTuple):
    """An answer to write, or without ``data`` one that has been used; ``at`` is monotonic."""

    key: Digest
    at: float
    data: bytes | None = None


class AnswerStore(ABC):
    """Keeps answers for ``ttl`` seconds; what fails is counted, and like an answer that is missing.

    Answers that are still to be written are found, too. At most ``most_bytes`` of them wait.
    """

    def __init__(self, ttl: float, most_bytes: int, counts: CacheCounts) -> None:
        self._ttl = ttl
        self._counts = counts
        self._unwritten: dict[Digest, AnswerWrite] = {}
        self._outlet: Outlet[AnswerWrite] = Outlet(
            counts.graph, "cache", self._deliver, _MOST, most_bytes, pause=_PAUSE_S
        )

    async def get(self, key: Digest) -> KeptAnswer | None:
        """Return an answer; None without one, or where the store does not say in time."""
        waiting = self._unwritten.get(key)
        if waiting is None or waiting.data is None:
            return await self._read(key)
        left = waiting.at + self._ttl - time.monotonic()
        return KeptAnswer(waiting.data, left) if left > 0 else None

    def put(self, key: Digest, data: bytes) -> bool:
        """Have an answer written soon; return whether there was room for it."""
        write = self._unwritten[key] = AnswerWrite(key, time.monotonic(), data)
        is_taken = self._outlet.offer(write, len(data))
        if not is_taken:  # and the outlet's thread may have written another answer to it
            self._unwritten.pop(key, None)
        return is_taken

    async def close(self) -> None:
        """Write what is left, for two seconds at most, and let the store go."""
        await asyncio.to_thread(self._outlet.close)

    def _deliver(self, writes: Sequence[AnswerWrite]) -> None:
        try:
            self._write(writes)
        except Exception:
            self._counts.failed()
            raise
        finally:
            for write in writes:
                self._unwritten.pop(write.key, None)

    @abstractmethod
    async def _read(self, key: Digest) -> KeptAnswer | None: ...

    @abstractmethod
    def _write(self, writes: Sequence[AnswerWrite]) -> None:
        """In the outlet's thread: write answers, and note the use of others."""
