"""What stores of answers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.store import AnswerStore, AnswerWrite, KeptAnswer
from anabranch.telemetry.registry import Registry


class FullStore(AnswerStore):
    """Whose outlet is full, and delivers an older answer to the same question meanwhile."""

    def __init__(self) -> None:
        super().__init__(60.0, 1, CacheCounts("g", "1", "", Registry()))
        offer = self._outlet.offer

        def offered(write: AnswerWrite, size: int = 0) -> bool:
            self._deliver([AnswerWrite(write.key, 0.0, b"older")])
            return offer(write, size)

        self._outlet.offer = offered  # type: ignore[method-assign]

    async def _read(self, key: bytes) -> KeptAnswer | None:
        return None

    def _write(self, writes: Sequence[AnswerWrite]) -> None:
        pass


def test_an_answer_without_room_fails_nothing_whatever_is_written_meanwhile() -> None:
    store = FullStore()
    assert not store.put(b"key", b"too large")
    assert asyncio.run(store.get(b"key")) is None
    asyncio.run(store.close())
