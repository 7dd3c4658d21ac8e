"""Time that a test sets: a clock to call, and event loops that do not wait."""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass


@dataclass
class Clock:
    """Tells ``now``, in seconds, until the test sets another."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where it would wait for a timer, and then at once.

    It knows nothing of threads: it does not wait for them while there is a timer.
    """

    def __init__(self) -> None:
        self._skips = _Skips()
        super().__init__(self._skips)

    def time(self) -> float:
        return self._skips.passed


class _Skips(selectors.DefaultSelector):
    """Notes the seconds that it was to wait for, and waits for none of them."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += timeout or 0.0
        return super().select(timeout and 0.0)
