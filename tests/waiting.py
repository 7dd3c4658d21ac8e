"""Waiting for what happens soon, without a guess of when."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(happened: Callable[[], object], seconds: float = 60) -> None:
    """Return when it has happened; AssertionError if it has not by then."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)
