"""A circuit breaker for each replica of a segment: a pure state machine.

A replica that fails several calls in a row gets no more of them for a while (open). Then it gets a
single one (half-open); if that succeeds, it gets its share again (closed), else it rests for twice
as long. It is what Envoy calls outlier detection, with its number of failures and its growing
pauses. As there, replicas are only left out for the sake of others: where all are open, which the
last one is when it fails, all get their calls. A segment never goes away because of its breakers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

FAILURES = 5
"""Failed calls in a row that open a breaker."""
FIRST_PAUSE = 1.0
"""Seconds that a breaker stays open at first; each further time in a row twice as long."""
LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Breaker:
    """The circuit breaker of one replica."""

    failures: int = 0
    """In a row, while closed."""
    trips: int = 0
    """How often it opened in a row; 0 while it is closed."""
    until: float = 0.0
    probed: bool = False
    """Half-open, and its one call is under way."""

    def admits(self, now: float) -> bool:
        """Return whether the replica may get a call."""
        return not self.trips or (now >= self.until and not self.probed)

    def trip(self, now: float) -> None:
        """Open, for longer than the last time."""
        self.until = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.trips)
        self.trips += 1
        self.failures, self.probed = 0, False


class Breakers:
    """The breakers of a segment's replicas, by name. Times are in seconds on any one clock."""

    def __init__(self) -> None:
        self._known: dict[str, Breaker] = {}

    @property
    def are_closed(self) -> bool:
        """Whether no replica is left out."""
        return not any(one.trips for one in self._known.values())

    def admitted(self, replicas: Collection[str], now: float) -> list[str]:
        """Return the replicas that may get a call now: all of them where none may."""
        known = self._known
        found = [name for name in replicas if name not in known or known[name].admits(now)]
        return found or list(replicas)

    def began(self, replica: str, now: float) -> None:
        """Note a call to a replica."""
        one = self._known.get(replica)
        if one is not None and one.trips and now >= one.until:
            one.probed = True

    def ended(self, replica: str, ok: bool | None, now: float) -> None:
        """Note how a call ended; None where that says nothing of the replica."""
        if ok:
            self._known.pop(replica, None)
            return
        one = self._known.setdefault(replica, Breaker())
        if ok is None:
            one.probed = False
        elif one.probed:
            one.trip(now)
        elif not one.trips:
            one.failures += 1
            if one.failures >= FAILURES:
                one.trip(now)

    def keep(self, replicas: Collection[str]) -> None:
        """Forget all replicas but these."""
        self._known = {name: one for name, one in self._known.items() if name in replicas}
