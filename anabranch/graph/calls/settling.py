"""Prepares a process that has loaded its nodes for requests."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.0001
"""Longest time that a thread keeps the others from Python's lock, in seconds. With Python's own 5
ms what a thread encodes or computes adds as much to each read and write of a request, and a model
that needs the lock between two operators waits as long for each of them.
"""
YOUNG = 5_000
"""New objects after which Python looks for circles among them. Requests that wait for a thread, for
another process or for their client have a hundred each: with Python 3.11's own 700, to walk them
takes a twentieth of the processor at 64 requests.
"""


def settle_process() -> None:
    """Prepare for requests, once all is loaded.

    What is here then stays: each full collection would walk it and stop all requests for 50 to 90
    ms, every few seconds under load. A component that has asked for fewer collections, or none,
    keeps what it has asked for.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    young, *older = gc.get_threshold()
    if young:
        gc.set_threshold(max(young, YOUNG), *older)
