"""Calls in threads that can be given up: what nobody waits for is interrupted.

A thread cannot be stopped from outside, but CPython can raise an exception in it, between two of
its bytecodes (``PyThreadState_SetAsyncExc``). So a loop in Python ends at once, and one in C, or a
sleep, once it comes back to Python. Most calls that are given up end by themselves soon after, so
there is a short grace first.

The exception must hit no other code than the call's own. It is raised only while the call is known
to run, which a lock decides, and on its way out the call waits for what has not arrived.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

GRACE = 0.2
"""Seconds that a call has to end by itself once it was given up."""
STUCK = 30.0
"""Seconds after which a call that was given up counts as stuck."""


class CallInterrupted(BaseException):
    """Raised in a component whose call nobody waits for; no ``except Exception`` catches it."""


class InterruptibleCall:
    """One call of a component in a thread. ``run`` it once; ``interrupt`` it from any other."""

    __slots__ = ("_lock", "_raised", "_thread", "_work", "given_up")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.given_up: float | None = None
        """When it was given up, on the monotonic clock."""
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._raised = False

    def run(self) -> Any:
        """Do the work. Raises Interrupted if it was interrupted."""
        try:
            with self._lock:
                self._thread = threading.get_ident()
            return self._work()
        finally:
            self._leave()

    def interrupt(self) -> None:
        """Raise Interrupted in the thread, if the call runs there; only once."""
        with self._lock:
            if self._thread is not None and not self._raised:
                self._raised = True
                _raise(self._thread, CallInterrupted)

    def _leave(self) -> None:
        """No exception is raised after this; one that is on its way arrives within it or never.

        If it arrives before the lock is held, that does not matter: there is only one.
        """
        with self._lock:
            thread, self._thread = self._thread, None
        if self._raised and thread is not None:
            _settle(thread)


def _raise(thread: int, error: type[BaseException]) -> None:
    """Raise an error in a thread, in place of one that has not arrived."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _settle(thread: int) -> None:
    """Have what may still be on its way to this thread arrive here.

    To take it back instead would leave Python 3.11 looking for it for ever: each call in the
    process is slower then, and one that is traced, as by a debugger, never begins.
    """
    with suppress(CallInterrupted):
        _raise(thread, CallInterrupted)  # in place of the first, or after it has arrived
        for _ in range(2):
            pass  # Python looks for exceptions at the end of each turn


def stuck(calls: Iterable[InterruptibleCall], now: float) -> int:
    """Return how many of the calls that go on were given up long ago."""
    return sum(call.given_up is not None and now - call.given_up > STUCK for call in calls)
