"""Processes of an engine that the kernel has stopped: they are killed, and replaced as dead ones.

Nobody can wait for an answer of a stopped process. One that a debugger holds is none of these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import psutil

from anabranch.control.engine.supervision.snapshot import ProcessLook

logger = logging.getLogger("anabranch.supervisor")

STOPPED_S = 3.0
"""Time for which a process may be stopped, in seconds."""
_STOPPED = "T"
clock = time.monotonic


class StoppedProcesses:
    """Looks for stopped processes, of those whose ids are ``ours``."""

    def __init__(self, ours: Callable[[int], bool]) -> None:
        self._ours = ours
        self._since: dict[psutil.Process, float] = {}

    def kill_among(self, processes: Mapping[int, ProcessLook]) -> None:
        """Kill those that have been stopped for long."""
        now = clock()
        self._since = {one: self._since.get(one, now) for one in _stopped(processes)}
        for process, since in self._since.items():
            if now - since >= STOPPED_S and self._ours(process.pid):
                self._kill(process)

    def _kill(self, process: psutil.Process) -> None:
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())[:120]
            logger.error("process %d is stopped: %s; killing it", process.pid, title)
            process.kill()


def _stopped(processes: Mapping[int, ProcessLook]) -> Iterator[psutil.Process]:
    for one in processes.values():
        if one.state == _STOPPED:
            with suppress(psutil.Error):
                yield psutil.Process(one.pid)
