"""Runs the code of components: whatever they raise becomes an error of their node.

What ends the task of a coroutine from outside passes. Python has the same exceptions for both, so
they are told apart by where they come from: a ``GeneratorExit`` from outside comes in where the
coroutine waits, and a cancellation from outside is counted by the task while the component does not
run. What the task counts while the component runs is the component's doing.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from anabranch.components.raised import pass_cancellation, pass_interrupt, text_of, without_secrets
from anabranch.errors import (
    AnabranchError,
    DeadlineExceeded,
    NodeError,
    RequestError,
    Unavailable,
)
from anabranch.graph.calls.faults import FAULTS
from anabranch.graph.calls.interrupt import CallInterrupted
from anabranch.graph.calls.watch import WATCH, LoopCaller
from anabranch.pulse import PULSE

T = TypeVar("T")
_ON_PURPOSE = (RequestError, NodeError, Unavailable, DeadlineExceeded)


def translate(node: str, error: BaseException) -> AnabranchError:
    """Return the error that the rest of the engine sees for what a component raised.

    Errors that a component may raise on purpose are returned, masked: a RequestError blames the
    caller. Ctrl-C in the main thread is raised again. All others are logged, unless nobody waits
    for the call.
    """
    if isinstance(error, _ON_PURPOSE):
        return without_secrets(error)
    pass_interrupt(error)
    kind, text = type(error).__name__, text_of(error).strip()
    reason = f"{kind}: {text[:500]}" if text else kind
    place = "" if isinstance(error, CallInterrupted) else FAULTS.note(node, error)
    return NodeError(node, f"{reason} ({place})" if place else reason)


def called(node: str, call: Callable[[], T]) -> T:
    """Call synchronous code of a component; raise its errors as errors of the node."""
    try:
        return call()
    except BaseException as error:
        raise translate(node, error) from error


@types.coroutine
def awaited(caller: LoopCaller, call: Callable[[], Any]) -> Generator[Any, Any, Any]:
    """Await what a component's function returns; raise its errors as errors of the node.

    A cancellation of the current task from outside is raised as it is.
    """
    node = caller.node
    work = called(node, call)
    step, own = partial(work.send, None), 0
    while True:
        before = _cancellations()
        if not WATCH.awake:
            WATCH.wake()
        PULSE.called[0] = caller.number
        WATCH.since = perf_counter()
        WATCH.lane = caller
        try:
            waits_for, end = step(), None
        except BaseException as raised:
            waits_for, end = None, raised
        finally:
            WATCH.lane = None
        own = max(0, own + _cancellations() - before)
        if end is not None:
            yield from _take_back(own)
            return _result(node, end, own)
        try:
            step = partial(work.send, (yield waits_for))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as thrown:
            step = partial(work.throw, thrown)


def _cancellations() -> int:
    """Return how often the current task was cancelled; not yet where there is none."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _take_back(own: int) -> Generator[None, None, None]:
    """Have the current task forget that the component has cancelled it so many times."""
    task = asyncio.current_task() if own else None
    if task is not None:
        with suppress(asyncio.CancelledError):
            yield  # one that is on its way arrives here
        for _ in range(own):
            task.uncancel()


def _result(node: str, end: BaseException, own: int) -> Any:
    """Return what the coroutine has returned, or raise the error with which it ended."""
    if not isinstance(end, StopIteration):
        pass_cancellation(end)
        raise translate(node, end) from end
    if own:
        raise NodeError(node, "it cancelled the task of its own request")
    return end.value
