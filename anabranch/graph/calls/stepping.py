"""Runs a coroutine up to its first wait, to see whether there is one.

Most requests never wait: their body has arrived and their graph is fused and fast. For those,
timers, watchers and a task would cost more than the work that they guard, so they start only once
there is something to wait for.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task as enter_task
from asyncio.tasks import _leave_task as leave_task
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Started(Generic[T]):
    """A coroutine that has begun; if it is not ``done``, await this object, at once and once.

    What the coroutine raises before its first wait is raised by the constructor. It goes on in the
    task that awaits. That is the task that began it, or any if it was begun outside of tasks.
    """

    __slots__ = ("_coroutine", "_waits_for", "done", "value")

    value: T
    """Result of the coroutine, if it is ``done``."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.done = False
        try:
            self._waits_for = _put_aside(coroutine.send(None))
        except StopIteration as finished:
            self.done, self.value = True, finished.value

    @property
    def needs_task(self) -> bool:
        """Whether it waits for nothing but a task, if it is not ``done``: see ``in_task``."""
        return self._waits_for is None

    def __await__(self) -> Generator[Any, Any, T]:
        """Hand on what the coroutine waits for, as ``await`` itself would have."""
        waits_for, coroutine = _taken_up(self._waits_for), self._coroutine
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


def started_outside(coroutine: Coroutine[Any, Any, T]) -> Started[T]:
    """Begin a coroutine as outside of tasks, even within one; any task may go on with it."""
    task = asyncio.current_task()
    if task is None:
        return Started(coroutine)
    loop = task.get_loop()
    leave_task(loop, task)
    try:
        return Started(coroutine)
    finally:
        enter_task(loop, task)


def begin(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> asyncio.Task[T] | None:
    """Run a coroutine, in a copy of the current context, from a callback outside of all tasks.

    Returns None if it finished without a wait, else the task in which the rest of it runs. What it
    raises before its first wait is raised here.
    """
    context = copy_context()
    try:
        waits_for = _put_aside(context.run(coroutine.send, None))
    except StopIteration:
        return None
    return loop.create_task(_Rest(coroutine, waits_for), context=context)


class _InTask:
    """Awaited, it yields to be given a task, where there is none."""

    def __await__(self) -> Generator[None, None, None]:
        if asyncio.current_task() is None:
            yield


def in_task() -> Awaitable[None]:
    """Await this before what needs a current task: from here on, there is one.

    In a task it does nothing. Outside, it makes ``begin`` go on with the rest in a task.
    """
    return _InTask()


class _Rest(Coroutine[Any, Any, T]):
    """The rest of a coroutine that has begun, from its first wait on.

    It is no coroutine function, for a task that is cancelled before its first step never enters
    one, and the coroutine inside would not hear of it.
    """

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def send(self, value: Any) -> Any:
        waits_for, self._waits_for = self._waits_for, None
        return self._coroutine.send(value) if waits_for is None else _taken_up(waits_for)

    def throw(self, *error: Any) -> Any:
        self._waits_for = None
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("only a task runs this")


def _put_aside(waits_for: Any) -> Any:
    """Take back a future's claim that its awaiter has just yielded it.

    Each task checks and clears that claim when it gets the future. Others may do so before the
    future that was put aside is handed on.
    """
    if waits_for is not None:
        waits_for._asyncio_future_blocking = False
    return waits_for


def _taken_up(waits_for: Any) -> Any:
    """Renew the claim of a future that was put aside."""
    if waits_for is not None:
        waits_for._asyncio_future_blocking = True
    return waits_for
