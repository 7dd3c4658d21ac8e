"""Prepares a process that has loaded its nodes for requests."""

from __future__ import annotations

import gc
import sys

from anabranch.graph.calls.timer_slack import PATIENT_NS, set_timer_slack

SWITCH_S = 0.00001
"""Time after which a thread that waits for Python's lock asks for it, in seconds; the slack of its
timer comes on top. With Python's own 5 ms what a thread encodes or computes adds as much to each
read and write of a request, and a model that needs the lock between two operators waits as long
for each of them. The event loop lets go of the lock several times a request, and wakes those that
wait; but it has the lock again before they run, unless one has asked for it. Ray's main thread
needs it a hundred times a second: where it waits longer than the loop keeps the lock, it is woken
thousands of times, which takes a twentieth of a busy router.
"""
YOUNG = 5_000
"""New objects after which Python looks for circles among them. Requests that wait for a thread, for
another process or for their client have a hundred each: with Python 3.11's own 700, to walk them
takes a twentieth of the processor at 64 requests.
"""


def settle_process() -> None:
    """Prepare for requests, once all is loaded, in the thread that starts those of the components.

    What is here then stays: each full collection would walk it and stop all requests for 50 to 90
    ms, every few seconds under load. A component that has asked for fewer collections, or none,
    keeps what it has asked for.
    """
    sys.setswitchinterval(SWITCH_S)
    set_timer_slack(PATIENT_NS)
    gc.freeze()
    young, *older = gc.get_threshold()
    if young:
        gc.set_threshold(max(young, YOUNG), *older)
