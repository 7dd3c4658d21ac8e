"""The clock by which a controller measures how long steps hold and revisions stay warm."""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Unix time that goes on evenly from when this was made, whatever is done to the system's.

    Durations that are measured with it do not change where somebody sets the system's clock, and
    do not count the time for which the machine sleeps. Only another one knows the time that was
    set: what the store says may be ahead of it (``lifecycle.clocks``).
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steady = steady
        self._offset = wall() - steady()

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._offset + self._steady()
