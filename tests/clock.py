"""A clock that a test sets, for whatever takes the time from a callable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Tells ``now``, in seconds, until the test sets another."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now
