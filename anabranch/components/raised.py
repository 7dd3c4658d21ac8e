"""What code of a component raises: told apart from what ends its caller, and put into words.

A component may raise anything, ``KeyboardInterrupt``, ``SystemExit``, ``CancelledError`` and
``GeneratorExit`` too. Raised by a component, each is an error of its node like any other. From
outside, two of them mean that the caller is to end: a task is cancelled where it waits, so only a
coroutine can see that, and Python interrupts the main thread when somebody types Ctrl-C.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, TypeVar

from anabranch.errors import AnabranchError
from anabranch.masking import masked

T = TypeVar("T")
E = TypeVar("E", bound=AnabranchError)


def pass_interrupt(error: BaseException) -> None:
    """Raise an error again that may come from Ctrl-C; only Python's own handler raises that."""
    if (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        raise error


def pass_cancellation(error: BaseException) -> None:
    """Raise an error again that is the cancellation of the task that awaited the component."""
    task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    if task is not None and task.cancelling():
        raise error


def text_of(error: BaseException) -> str:
    """Return the text of an error, without secrets; empty where there are no words for it."""
    try:
        return masked(str(error))
    except BaseException as failure:
        pass_interrupt(failure)
        return ""


def without_secrets(error: E) -> E:
    """Return one of our errors, after its texts were masked: components may raise them, too."""
    error.args = tuple(masked(one) if isinstance(one, str) else one for one in error.args)
    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, masked(value))
    return error


def settled(call: Callable[[], T]) -> Callable[[], T]:
    """Call, and return a function that returns or raises what the call did.

    For calls in threads: whoever awaits a future that should hold a ``StopIteration`` waits for
    ever, and takes one that holds a ``CancelledError`` for cancelled.
    """
    try:
        value = call()
    except BaseException as error:
        return partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> NoReturn:
    raise error


async def kept_in_task(work: Awaitable[T]) -> T:
    """Await code of a component in a task of its own, whose loop would end with some errors.

    Raises RuntimeError in place of an error that is no ``Exception``.
    """
    try:
        return await work
    except Exception:
        raise
    except BaseException as error:
        pass_cancellation(error)
        pass_interrupt(error)
        raise RuntimeError(f"{type(error).__name__}: {text_of(error)}") from error
