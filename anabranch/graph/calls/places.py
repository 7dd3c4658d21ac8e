"""The places of one component: how many calls may be in it at a time, and those that wait for one.

Calls wait in the order in which they came. A place that is given up goes to the first of them, and
any thread may see to that, so that a thread that is done need not wait for the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from anabranch.graph.calls.interrupt import InterruptibleCall


class PlacedCall:
    """A call that waits for a place, has one, or has ended; without ``work``, a mere turn.

    It is created on the event loop, where its ``answer`` is awaited, and keeps the variables of the
    context there.
    """

    __slots__ = ("answer", "context", "future", "has_place", "is_for_loop", "is_turn", "work")

    def __init__(self, work: Callable[[], Any] | None = None) -> None:
        self.is_turn = work is None
        self.work = InterruptibleCall(work or _nothing)
        self.context = copy_context()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.future: Future[Any] | None = None
        """Its work in a thread, once that was asked for."""
        self.has_place = False
        """Whether it waits no more."""
        self.is_for_loop = False
        """Whether it has a place that it is to use on the event loop."""

    def turn_to_loop(self) -> None:
        """Answer with None, on the event loop: its place is to be used there."""
        if not self.answer.done():
            self.is_for_loop = True
            self.answer.set_result(None)


class CallPlaces:
    """The places of a component. All but ``next`` is for the thread of the event loop."""

    __slots__ = ("_lock", "_waiting", "free")

    def __init__(self, number: int) -> None:
        self.free = number
        """How many are free; none while a call waits."""
        self._waiting: deque[PlacedCall] = deque()
        self._lock = threading.Lock()

    def take(self, call: PlacedCall) -> bool:
        """Give a call a place, or have it wait; return whether it has one."""
        if self.free:
            self.free -= 1
            call.has_place = True
        else:
            self._waiting.append(call)
        return call.has_place

    def next(self) -> PlacedCall | None:
        """Give a place that was given up to the first call that waits, which is returned.

        None where nobody waits: then the place must be set ``free``. Any thread may ask.
        """
        with self._lock:
            while self._waiting:
                call = self._waiting.popleft()
                if not call.answer.done():
                    call.has_place = True
                    return call
        return None

    def withdraw(self, call: PlacedCall) -> bool:
        """Have a call wait no longer; False where it has a place already."""
        with self._lock, suppress(ValueError):
            self._waiting.remove(call)
        return not call.has_place


def _nothing() -> None:
    """The work of a mere turn."""
