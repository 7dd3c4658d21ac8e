"""A bound on the lines that components may write to the log of a process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

BURST_S = 50.0
"""So many seconds' lines may come at once, after a pause."""
_OURS = ("anabranch", "ray")
"""Loggers of the engine, which say little, and whose lines are never left out."""

logger = logging.getLogger("anabranch.logs")


class LineLimit(logging.Filter):
    """Leaves out what is beyond ``rate`` lines a second, and says how many lines that were.

    It says so at the first line that is left out, and with the number at the next that is not. Safe
    to use from several threads.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._rate, self._burst, self._clock = rate, rate * BURST_S, clock
        self._free, self._at = self._burst, clock()
        self._left_out = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written."""
        if record.name.partition(".")[0] in _OURS:
            return True
        with self._lock:
            passes, told = self._take()
        if told:
            logger.warning("%s", told)
        return passes

    def _take(self) -> tuple[bool, str]:
        """Whether there is room for one more line, and what is to be said before it."""
        now = self._clock()
        self._free = min(self._burst, self._free + (now - self._at) * self._rate)
        self._at = now
        if self._free < 1:
            self._left_out += 1
            first = self._left_out == 1
            return False, f"more than {self._rate:g} lines a second: left out" if first else ""
        self._free -= 1
        count, self._left_out = self._left_out, 0
        return True, f"{count} lines were left out" if count else ""
