"""Outlets, the only way off the request path: a bounded queue, and a thread that delivers.

Whatever leaves a process on its own account (spans, logged requests, rows for monitors) goes
through an ``Outlet``. Handing over never waits and never fails: what does not fit is dropped and
counted, so that at every moment

    selected = sent + dropped + waiting

A sink that hangs holds one thread and a full queue, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Literal, TypeAlias, TypeVar

from anabranch.telemetry.activity import ACTIVITY
from anabranch.telemetry.definitions import (
    OUTLET_DROPPED,
    OUTLET_SELECTED,
    OUTLET_SENT,
    OUTLET_WAITING,
)
from anabranch.telemetry.registry import REGISTRY, Registry

Item = TypeVar("Item")
Deliver: TypeAlias = Callable[[Sequence[Item]], int | None]
"""Delivers items; says how many arrived where that is not all, and raises where none did. Called in
the outlet's thread; may take as long as it likes, but should give up by itself after some seconds.
"""
Reason: TypeAlias = Literal["full", "failed", "late", "closed"]

BATCH = 512
"""Most items that are delivered in one call."""
PAUSE_S = 0.2
"""The pause that is made unless another is asked for."""
CLOSING_S = 2.0
"""Longest time that ``close`` waits for what is still there."""
_QUIET_S = 60.0
"""Time between two lines in the log about a sink that fails."""

logger = logging.getLogger("anabranch.telemetry")


class Outlet(Generic[Item]):
    """A queue of at most ``most`` items and ``most_bytes`` bytes, and the thread that empties it.

    ``name`` is its label in the metrics, next to the graph's; ``pause``, in seconds, is the time in
    which items gather for the next call.
    """

    def __init__(
        self,
        graph: str,
        name: str,
        deliver: Deliver[Item],
        most: int = 2048,
        most_bytes: int = 16 * 2**20,
        registry: Registry = REGISTRY,
        pause: float = PAUSE_S,
    ) -> None:
        self._name = name
        self._pause = pause
        self._deliver = deliver
        self._most, self._most_bytes = most, most_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = self._waiting = 0
        """Of all that is not delivered yet, what is being delivered included."""
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._closing = threading.Event()
        self._closed = False
        self._said = -_QUIET_S
        self._selected = registry.number(OUTLET_SELECTED, graph, name)
        self._sent = registry.number(OUTLET_SENT, graph, name)
        self._still = registry.number(OUTLET_WAITING, graph, name)
        reasons: tuple[Reason, ...] = ("full", "failed", "late", "closed")
        self._dropped = {
            reason: registry.number(OUTLET_DROPPED, graph, name, reason) for reason in reasons
        }
        self._thread: threading.Thread | None = None

    def offer(self, item: Item, size: int = 0) -> bool:
        """Take an item of ``size`` bytes to deliver; False if there is no room, and it is dropped.

        From any thread; 1 to 2 microseconds.
        """
        with self._lock:
            self._selected.value += 1
            if self._closed:
                self._dropped["closed"].value += 1
                return False
            if self._waiting >= self._most or self._bytes + size > self._most_bytes:
                self._dropped["full"].value += 1
                return False
            self._waiting += 1
            self._bytes += size
            self._still.value = self._waiting
            self._items.append((item, size))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"anabranch-{self._name}", daemon=True
                )
                self._thread.start()
        self._work.set()
        return True

    def close(self, timeout: float = CLOSING_S) -> bool:
        """Deliver what is there, for ``timeout`` seconds at most; the rest is dropped.

        False if a call still hangs then.
        """
        with self._lock:
            self._closed = True
        self._closing.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._lock:
            left = len(self._items)
            self._forget([self._items.popleft()[1] for _ in range(left)])
            self._dropped["closed"].value += left
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            while batch := self._next():
                self._give(batch)
                if len(batch) < BATCH:
                    self._closing.wait(self._pause)
            if self._closing.is_set():
                return

    def _next(self) -> list[tuple[Item, int]]:
        with self._lock:
            return [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]

    def _give(self, batch: list[tuple[Item, int]]) -> None:
        arrived, lost = 0, self._dropped["failed"]
        try:
            told = self._deliver([item for item, _ in batch])
            arrived = len(batch) if told is None else told
        except Exception as error:
            self._say(error)
            if isinstance(error, TimeoutError):
                lost = self._dropped["late"]
        with self._lock:
            self._sent.value += arrived
            lost.value += len(batch) - arrived
            self._forget([size for _, size in batch])
        ACTIVITY.mark()

    def _forget(self, sizes: Sequence[int]) -> None:
        self._waiting -= len(sizes)
        self._bytes -= sum(sizes)
        self._still.value = self._waiting

    def _say(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._said >= _QUIET_S:
            self._said = now
            with suppress(Exception):
                logger.warning("outlet %s does not deliver: %s", self._name, line_of(error))


def line_of(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__
