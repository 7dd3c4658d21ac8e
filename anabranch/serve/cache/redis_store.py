"""Answers in Redis, which all machines of an engine share.

A look takes ``LOOK_S`` at most: where Redis is slow or away, requests are evaluated as without a
cache, and soon nobody asks it any more for a moment. How much it keeps is up to ``maxmemory``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from anabranch.graph.calls.stepping import in_task
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.store import AnswerStore, AnswerWrite, KeptAnswer
from anabranch.serve.cache.wire import Digest

LOOK_S = 0.05
"""Longest time of a look, in seconds."""
REST_S = 1.0
"""Time without a look after ``MOST_FAILURES`` looks in a row that failed, in seconds."""
MOST_FAILURES = 3
_WRITE_S = 2.0
_CONNECTIONS = 32
"""Most connections of a process to Redis; more looks at a time than these wait for one."""
_PREFIX = b"anabranch:answer:"


class RedisStore(AnswerStore):
    """The answers of one cache at a URL; keys of several caches differ by their digests."""

    def __init__(self, url: str, size: int, ttl: float, counts: CacheCounts) -> None:
        import redis
        import redis.asyncio

        super().__init__(ttl, size, counts)
        self._milliseconds = max(1, int(ttl * 1000))
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=_CONNECTIONS, timeout=LOOK_S, socket_connect_timeout=LOOK_S,
            retry=None,
        )  # fmt: skip
        self._reader: Any = redis.asyncio.Redis.from_pool(pool)
        self._writer: Any = redis.Redis.from_url(
            url, socket_timeout=_WRITE_S, socket_connect_timeout=_WRITE_S
        )
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError, TimeoutError)
        self._failures = 0
        self._asked_again = 0.0

    async def _read(self, key: Digest) -> KeptAnswer | None:
        if time.monotonic() < self._asked_again:
            return None
        await in_task()
        try:
            async with asyncio.timeout(LOOK_S):
                data, left = await self._look(_PREFIX + key)
        except self._errors:
            self._counts.failed()
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                self._asked_again = time.monotonic() + REST_S
            return None
        self._failures = 0
        return None if data is None or left <= 0 else KeptAnswer(data, left / 1000)

    async def _look(self, name: bytes) -> tuple[bytes | None, int]:
        """Return an answer and its milliseconds, in one round trip."""
        async with self._reader.pipeline(transaction=False) as both:
            data, left = await both.get(name).pttl(name).execute()
        return data, left

    def _write(self, writes: Sequence[AnswerWrite]) -> None:
        with self._writer.pipeline(transaction=False) as all_of_them:
            for write in writes:
                left = self._milliseconds - int((time.monotonic() - write.at) * 1000)
                if write.data is not None and left > 0:
                    all_of_them.set(_PREFIX + write.key, write.data, px=left)
            all_of_them.execute()

    async def close(self) -> None:
        """Write what is left, for two seconds at most, and close the connections."""
        await super().close()
        self._writer.close()
        await self._reader.aclose()
