"""Whether a remote model is worth asking: what the last probe said, and for how long it holds."""

from __future__ import annotations

import time
from collections.abc import Callable

HOLDS = 5.0
"""How long a model is spared after a probe that found it not ready, in seconds. Then requests go
out again, so that a probe that is late, or never comes, cannot keep a model out for ever."""


class Health:
    """The memory of the last probe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unready_until = float("-inf")

    def is_ready(self) -> bool:
        """Tell whether requests may go out."""
        return self._clock() >= self._unready_until

    def note_ready(self) -> None:
        """Note a probe that found the model ready."""
        self._unready_until = float("-inf")

    def note_unready(self) -> None:
        """Note a probe that did not."""
        self._unready_until = self._clock() + HOLDS
