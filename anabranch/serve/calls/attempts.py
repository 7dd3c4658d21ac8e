"""Calls through a handle, and what their ends say of the replicas that they went to.

The caller leaves an ``Attempt`` in a context variable, which Serve's tasks inherit; the choice of a
replica, in ``breaking``, notes there which one it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ray.exceptions import RayError, RayTaskError, UserCodeException
from ray.serve.exceptions import RayServeException

from anabranch.serve.calls.breaker import Breakers


class Attempt:
    """One call through a handle, and how it ended."""

    def __init__(self) -> None:
        self._breakers: Breakers | None = None
        self._replica = ""

    def sent(self, breakers: Breakers, replica: str) -> None:
        """Note the replica that the call goes to; the last one counts."""
        if self._breakers is not None:
            self.ended(None)
        self._breakers, self._replica = breakers, replica
        breakers.began(replica, time.monotonic())

    def ended(self, ok: bool | None) -> None:
        """Tell the replica's breaker; None where the end says nothing of the replica."""
        if self._breakers is not None:
            self._breakers.ended(self._replica, ok, time.monotonic())


_CURRENT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def current() -> Attempt | None:
    """The attempt that the running task belongs to."""
    return _CURRENT.get()


@contextmanager
def attempting(is_late: Callable[[], bool]) -> Iterator[None]:
    """Judge the replica that a call goes to which is made and awaited within.

    It has failed if it is out of reach, or if the call is cancelled and ``is_late``. What it raises
    itself is an answer.
    """
    attempt = Attempt()
    token = _CURRENT.set(attempt)
    ok: bool | None = True
    try:
        yield
    except asyncio.CancelledError:
        ok = False if is_late() else None
        raise
    except (RayError, RayServeException) as error:
        ok = isinstance(error, RayTaskError | UserCodeException)
        raise
    finally:
        _CURRENT.reset(token)
        attempt.ended(ok)


Handle = Any
"""A Serve deployment handle: its methods are made up at run time."""
