"""Prepares a process that has loaded its nodes for requests."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.0005
"""Longest time that a thread keeps the others from Python's lock, in seconds. With Python's own 5
ms what a thread encodes or computes adds as much to each read and write of a request.
"""


def settle_process() -> None:
    """Prepare for requests, once all is loaded.

    What is here then stays: each full collection would walk it and stop all requests for 50 to 90
    ms, every few seconds under load.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
