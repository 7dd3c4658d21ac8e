"""How far a job is: rows, rate, and an estimate of the time that remains."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPAN_S = 30.0
"""The rate is that of the last so many seconds."""


@dataclass
class JobProgress:
    """Counts of rows.

    ``resumed`` had an answer or an error before the job was started, ``asked`` have got one since.
    """

    total: int
    resumed: int = 0
    failed: int = 0
    """Of both."""
    asked: int = 0
    revisions: Counter[int] = field(default_factory=Counter)
    """Rows by the revision that answered."""
    clock: Callable[[], float] = time.monotonic
    _times: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._times.append((self._started, 0))

    @property
    def done(self) -> int:
        """Rows that need no more."""
        return self.resumed + self.asked

    @property
    def seconds(self) -> float:
        """Time since the job was started, the last time."""
        return self.clock() - self._started

    def count(self, rows: int, failed: int, revisions: Mapping[int, int]) -> None:
        """Count rows that are kept, those of them that failed, and the others by revision."""
        self.failed += failed
        self.asked += rows
        self.revisions.update(revisions)
        now = self.clock()
        self._times.append((now, self.asked))
        while len(self._times) > 2 and now - self._times[1][0] > SPAN_S:
            self._times.popleft()

    @property
    def rate(self) -> float:
        """Rows a second lately; 0 before the first chunk."""
        (then, before), (_, count) = self._times[0], self._times[-1]
        passed = self.clock() - then
        return (count - before) / passed if passed > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds until the end at this rate; None where there is none."""
        return (self.total - self.done) / self.rate if self.rate else None

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        remaining = self.remaining
        return {
            "rows": self.total,
            "done": self.done,
            "resumed": self.resumed,
            "failed": self.failed,
            "rate": round(self.rate, 1),
            "remaining_s": None if remaining is None else round(remaining, 1),
            "seconds": round(self.seconds, 3),
            "revisions": {f"r{number}": rows for number, rows in sorted(self.revisions.items())},
        }
