"""Runs a coroutine up to its first wait, to see whether there is one.

Most requests never wait: their body has arrived and their graph is fused and fast. For those,
timers and watchers would cost more than the work that they guard, so they start only once there is
something to wait for.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Started(Generic[T]):
    """A coroutine that has begun; if it is not ``done``, await this object, at once and once.

    What the coroutine raises before its first wait is raised by the constructor. It goes on in the
    task that awaits, which must be the one that began it.
    """

    __slots__ = ("_coroutine", "_waits_for", "done", "value")

    value: T
    """Result of the coroutine, if it is ``done``."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.done = False
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as finished:
            self.done, self.value = True, finished.value

    def __await__(self) -> Generator[Any, Any, T]:
        """Hand on what the coroutine waits for, as ``await`` itself would have."""
        waits_for, coroutine = self._waits_for, self._coroutine
        while True:
            try:
                try:
                    sent = yield waits_for
                except BaseException as error:
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
            except StopIteration as finished:
                result: T = finished.value
                return result
