"""Token buckets; pure: times come in, in seconds on one monotonic clock."""

from __future__ import annotations


class Bucket:
    """A token bucket: ``rate`` tokens come in each second, and at most ``size`` are kept.

    It is full at first. More may be taken than there are, where that is known only later; then it
    takes the longer until there are some again.
    """

    __slots__ = ("_at", "_level", "rate", "size")

    def __init__(self, rate: float, size: float, now: float) -> None:
        self.rate, self.size = rate, size
        self._level, self._at = size, now

    def resize(self, rate: float, size: float, now: float) -> None:
        """Change the rate and the size, from now on; what is too much is lost."""
        level = self.level(now)
        self.rate, self.size = rate, size
        self._level = min(level, size)

    def level(self, now: float) -> float:
        """Return how many tokens are there; below 0 where too many were taken."""
        if now > self._at:
            self._level = min(self.size, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, now: float, amount: float) -> float:
        """Return after how many seconds so many are there, which is 0 where they are."""
        missing = amount - self.level(now)
        return missing / self.rate if missing > 0 else 0.0

    def take(self, now: float, amount: float = 1.0) -> None:
        """Take tokens, whether or not they are there."""
        self._level = self.level(now) - amount
