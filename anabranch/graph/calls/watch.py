"""Finds a component that holds the event loop: a thread watches the calls on the loop.

The thread sleeps until a call wakes it, and looks once a while later: nearly always that call is
over by then. It counts how often it finds the same call again, not the time that has passed. So
time in which the whole process was not running is held against no component; neither is a thread
that keeps Python's lock, which the engine's supervisor finds by the pulse of the process: the watch
beats for the loop while it looks, so that the supervisor leaves to it all that it can see itself. A
process without calls has no timer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from anabranch.pulse import PULSE

HANG_S = 3.0
"""A call that is seen on the loop for so long hangs."""
_LOOK_S = 0.25


class LoopCaller(Protocol):
    """Calls one component on the event loop; a ``Lane`` is one."""

    node: str
    served: tuple[str, str]
    """Graph and revision in a process that serves several, else empty."""
    number: int
    """Of the component, in the pulse of the process."""


class LoopWatch:
    """Watches one event loop. Whoever calls a component there, or has its coroutine go on, wakes
    it, if it is not ``awake``, writes ``since`` and then ``lane``, and clears ``lane`` afterwards.
    """

    __slots__ = ("_hung", "_is_over", "_woken", "awake", "lane", "since")

    def __init__(self) -> None:
        self.awake = True
        """False where the next call has to wake the thread; a watch that has none sleeps well."""
        self.lane: LoopCaller | None = None
        """Calls the component that is on the loop just now."""
        self.since = 0.0
        """When that call began, on the clock of the lanes; no two calls have the same."""
        self._woken = threading.Event()
        self._is_over = False

    def start(self, hung: Callable[[LoopCaller], None]) -> None:
        """Watch from now on; ``hung`` is called once, in the thread, for a call that hangs."""
        self._hung = hung
        self.awake = False
        threading.Thread(target=self._run, name="anabranch-watch", daemon=True).start()

    def wake(self) -> None:
        """Have the thread look soon."""
        self.awake = True
        self._woken.set()

    def stop(self) -> None:
        """Watch no more."""
        self._is_over = True
        self.wake()

    def _run(self) -> None:
        while not self._is_over:
            self._woken.wait()
            self._woken.clear()
            self.awake = self._is_over
            time.sleep(_LOOK_S)  # calls that begin meanwhile wake it for another look
            if self._hangs():
                break

    def _hangs(self) -> bool:
        """Look at the call that is on the loop, if there is one, until it is over or hangs."""
        lane, since = self.lane, self.since
        looks = HANG_S / _LOOK_S
        while lane is not None and self.lane is lane and self.since == since:
            if looks <= 0:
                self.awake = True
                self._hung(lane)
                return True
            looks -= 1
            PULSE.beat()
            time.sleep(_LOOK_S)
        return False


WATCH = LoopWatch()
"""Watches the event loop of this process, in an engine; elsewhere nothing is watched."""
