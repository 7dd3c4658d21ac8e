"""What components raise, in the log of their process: where in their own code, and how often.

An error is logged with a traceback that begins in the component's code, at most once a second for
each node, kind of error and place. The line says how many were left out since the last one.
"""

from __future__ import annotations

import logging
import os
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

INTERVAL_S = 1.0
"""Shortest time between two lines about the same fault, in seconds."""
MAX_KINDS = 256
"""Faults that are told apart; beyond them the oldest is forgotten."""
_ENGINE = str(Path(__file__).parents[2]) + os.sep
_STDLIB = sysconfig.get_path("stdlib") + os.sep
# By name: the environment of a bundle with requirements lies on top of the engine's own.
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))

logger = logging.getLogger("anabranch.component")
# Where nothing is set up to log, as in a notebook, the error itself shows all.
logger.addHandler(logging.NullHandler())


@dataclass
class _Kind:
    logged: float
    left_out: int = 0


class Faults:
    """Log of the errors that the components of a process raise. Safe to use from several threads.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, type[BaseException], str], _Kind] = {}
        self._lock = threading.Lock()

    def note(self, node: str, error: BaseException) -> str:
        """Log an error of a node; return its place as ``file:line``, empty if it has none."""
        own = _own(error.__traceback__)
        place = _place(own)
        with self._lock:
            left_out = self._left_out((node, type(error), place))
        if left_out is not None:
            more = f" ({left_out} more like this before)" if left_out else ""
            text = "node %r raised %s%s%s"
            where = f" at {place}" if place else ""
            logger.error(
                text, node, type(error).__name__, where, more,
                exc_info=(type(error), error, own), extra={"node": node, "place": place},
            )  # fmt: skip
        return place

    def _left_out(self, key: tuple[str, type[BaseException], str]) -> int | None:
        """Return how many were left out before one that is to be logged; None if it is not."""
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is not None and now - kind.logged < INTERVAL_S:
            kind.left_out += 1
            return None
        self._kinds.pop(key, None)
        self._kinds[key] = _Kind(now)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.pop(next(iter(self._kinds)), None)
        return 0 if kind is None else kind.left_out


def _own(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame on that is not the engine's; all if none is."""
    return next((one for one in _frames(trace) if not _file(one).startswith(_ENGINE)), trace)


def _place(trace: TracebackType | None) -> str:
    """Return file and line of the innermost frame that is no library's and not the engine's."""
    places = [
        f"{_short(_file(one))}:{one.tb_lineno}"
        for one in _frames(trace)
        if not _file(one).startswith((_ENGINE, _STDLIB, "<")) and not _is_installed(_file(one))
    ]
    return places[-1] if places else ""


def _is_installed(file: str) -> bool:
    return any(folder in file for folder in _INSTALLED)


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _file(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename


def _short(file: str) -> str:
    """Return a path below the working folder, which is the bundle's in a replica; or a name."""
    path = Path(file)
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed under the process
        return path.name
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


FAULTS = Faults()
"""Those of this process."""
