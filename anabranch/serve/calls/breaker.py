"""A circuit breaker for each replica of a segment.

It is what Envoy calls outlier detection, with its number of failures and its growing pauses. As
there, replicas are only left out for the sake of others: where all are open, which the last one is
when it fails, all get their calls. A segment never goes away because of its breakers.
"""

from __future__ import annotations

from collections.abc import Collection

from anabranch.breaker import Breaker


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
        if one is not None:
            one.began(now)

    def ended(self, replica: str, ok: bool | None, now: float) -> None:
        """Note how a call ended; None where that says nothing of the replica."""
        if ok:
            self._known.pop(replica, None)
            return
        self._known.setdefault(replica, Breaker()).ended(ok, now)

    def keep(self, replicas: Collection[str]) -> None:
        """Forget all replicas but these."""
        self._known = {name: one for name, one in self._known.items() if name in replicas}
