"""Tells whoever shows one unknown key after the other to wait.

An address may do so some times at once, and then once in a while. Keys that are right are never
kept waiting: whoever shares an address with an attacker would be locked out, and keys of 256 random
bits are not found by trying.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from anabranch.errors import TooManyRequests

BURST = 20
"""Failures that an address may have at once."""
EVERY_S = 3.0
"""Seconds until it may fail once more."""
MAX_ADDRESSES = 4096
"""Addresses that are known at a time; the one that failed first is forgotten."""


class Failures:
    """The failures of late, by address. ``clock`` is any that only grows, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        """When the failures of an address will be forgotten."""

    def add(self, address: str, said: str = "") -> None:
        """Count a failure; TooManyRequests where the address has had too many, and ``said`` why."""
        now = self._clock()
        ends = max(self._ends.pop(address, now), now)
        wait = math.ceil(ends - now - (BURST - 1) * EVERY_S)
        if len(self._ends) >= MAX_ADDRESSES:
            del self._ends[next(iter(self._ends))]
        self._ends[address] = ends if wait > 0 else ends + EVERY_S
        if wait > 0:
            said = said or f"too many unknown keys came from {address or 'this address'}"
            raise TooManyRequests(f"{said}; wait {wait}s", wait)
