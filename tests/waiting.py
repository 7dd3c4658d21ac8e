"""Waiting for what happens or holds soon, without a guess of when."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(happened: Callable[[], T], seconds: float = 60) -> T:
    """Return what is true once it has happened; AssertionError if it has not by then.

    To look takes what is waited for its processors: the longer it lasts, the less often it looks.
    """
    begun = time.monotonic()
    while not (found := happened()):
        waited = time.monotonic() - begun
        assert waited < seconds, "it has not happened"
        time.sleep(min(max(0.01, waited / 20), 0.1))
    return found


async def eventually(happened: Callable[[], object], seconds: float = 60) -> None:
    """Let the event loop go on until it has happened; AssertionError if it has not by then.

    What ``happened`` returns is awaited first, where it can be.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = happened()
        if inspect.isawaitable(found):
            found = await asyncio.wait_for(found, seconds)
        if found:
            return
        assert time.monotonic() < deadline, "it has not happened"
        await asyncio.sleep(0.001)


def until_true(check: Callable[[], None], seconds: float = 60) -> None:
    """Return when a check raises no AssertionError; the last one if it still does by then."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def until_said(process: subprocess.Popen[str], text: str, seconds: float = 120.0) -> None:
    """Read the lines that a process writes to stderr, a pipe, until one has ``text``."""
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    assert process.stderr is not None
    try:
        while text not in (line := process.stderr.readline()):
            assert line, f"ended with {process.wait()} before saying {text!r}"
    finally:
        watchdog.cancel()
