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
from contextvars import copy_context
from typing import Any

from anabranch.graph.calls.interrupt import InterruptibleCall


class PlacedCall:
    """A call that waits for a place, has one, or has ended; made on the event loop.

    It has the variables of the context in which it is made. Its ``answer`` is awaited there.
    """

    __slots__ = ("answer", "context", "future", "has_place", "is_for_loop", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = InterruptibleCall(work)
        self.context = copy_context()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.future: Future[Any] | None = None
        """Its work in a thread, once that was asked for."""
        self.has_place = False
        self.is_for_loop = False
        """Whether it has a place that it is to use on the event loop."""


class Places:
    """So many places. All but ``next`` is for the thread of the event loop."""

    __slots__ = ("_are_free", "_free", "_lock", "_waiting")

    def __init__(self, number: int) -> None:
        self._free = number
        self._are_free = asyncio.Event()
        self._are_free.set()
        self._waiting: deque[PlacedCall] = deque()
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """How many are free; none while a call waits."""
        return self._free

    def take(self, call: PlacedCall) -> bool:
        """Give a call a place, or have it wait; return whether it has one."""
        if not self._free:
            self._waiting.append(call)
            return False
        self._free -= 1
        if not self._free:
            self._are_free.clear()
        call.has_place = True
        return True

    def next(self) -> PlacedCall | None:
        """Give a place that was given up to the first call that waits, which is returned.

        None where nobody waits: then the place must be ``left``. Any thread may ask.
        """
        with self._lock:
            while self._waiting:
                call = self._waiting.popleft()
                if not call.answer.done():
                    call.has_place = True
                    return call
        return None

    def left(self) -> None:
        """Have a place free that was given up, and for which nobody waits."""
        self._free += 1
        self._are_free.set()

    def withdraw(self, call: PlacedCall) -> bool:
        """Have a call wait no longer; False where it has a place already."""
        with self._lock:
            if not call.has_place and call in self._waiting:
                self._waiting.remove(call)
        return not call.has_place

    async def any_free(self) -> None:
        """Wait until a place is free."""
        await self._are_free.wait()
