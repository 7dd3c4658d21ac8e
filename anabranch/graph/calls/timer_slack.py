"""How punctually Linux wakes a thread, and so how soon it gets Python's lock from a busy one."""

from __future__ import annotations

import ctypes
import sys

PUNCTUAL_NS = 1_000
"""For a thread that needs Python's lock often, and for a moment each time."""
PATIENT_NS = 100_000
"""For threads that compute in Python: taking the lock from each other costs more than it brings."""
_PR_SET_TIMERSLACK = 29
"""Of ``linux/prctl.h``."""


def set_timer_slack(nanoseconds: int) -> None:
    """Let this thread, and those that it starts from now on, be woken so much later than asked.

    That is ``prctl(PR_SET_TIMERSLACK)``; systems other than Linux have no such thing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds))
