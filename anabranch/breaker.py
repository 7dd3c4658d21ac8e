"""A circuit breaker: a pure state machine, for one thing that is called again and again.

What fails several calls in a row gets no more of them for a while (open). Then it gets a single one
(half-open); if that succeeds, calls go on (closed), else it rests for twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 5
"""Failed calls in a row that open a breaker."""
FIRST_PAUSE = 1.0
"""Seconds that a breaker stays open at first; each further time in a row twice as long."""
LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Breaker:
    """A circuit breaker. Times are in seconds on any one clock."""

    longest: float = LONGEST_PAUSE
    """Longest time that it stays open, in seconds."""
    failures: int = 0
    """In a row, while closed."""
    trips: int = 0
    """How often it opened in a row; 0 while it is closed."""
    until: float = 0.0
    probed: bool = False
    """Half-open, and its one call is under way."""

    def admits(self, now: float) -> bool:
        """Return whether there may be a call."""
        return not self.trips or (now >= self.until and not self.probed)

    def began(self, now: float) -> None:
        """Note a call."""
        if self.trips and now >= self.until:
            self.probed = True

    def ended(self, ok: bool | None, now: float) -> None:
        """Note how a call ended; None where that says nothing of what was called."""
        if ok:
            self.failures, self.trips, self.probed = 0, 0, False
        elif ok is None:
            self.probed = False
        elif self.probed:
            self._trip(now)
        elif not self.trips:
            self.failures += 1
            if self.failures >= FAILURES:
                self._trip(now)

    def _trip(self, now: float) -> None:
        """Open, for longer than the last time."""
        self.until = now + min(self.longest, FIRST_PAUSE * 2.0**self.trips)
        self.trips += 1
        self.failures, self.probed = 0, False
