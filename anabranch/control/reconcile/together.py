"""Does work of many threads together, where that takes little longer than the work of one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Together(Generic[ItemT]):
    """Calls ``work`` with all items that have come while it was at work; one call at a time.

    Where the items of a call fail together, each is tried alone, so that one hurts no other.
    """

    def __init__(self, work: Callable[[Sequence[ItemT]], None]) -> None:
        self._work = work
        self._working = threading.Lock()
        self._changing = threading.Lock()
        self._waiting: list[tuple[ItemT, Future[None]]] = []

    def do(self, item: ItemT) -> None:
        """Return when the work is done for an item; raises what it raised."""
        done: Future[None] = Future()
        with self._changing:
            self._waiting.append((item, done))
        with self._working:
            with self._changing:
                batch, self._waiting = self._waiting, []
            self._attempt(batch)
        done.result()

    def _attempt(self, batch: Sequence[tuple[ItemT, Future[None]]]) -> None:
        if not batch:  # whoever had its turn before has taken the item along
            return
        try:
            self._work([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for one in batch:
                self._attempt([one])
        else:
            for _, done in batch:
                done.set_result(None)
