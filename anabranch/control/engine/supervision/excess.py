"""Processes of graphs that take more of the machine than they may: they are killed, and replaced.

A component that leaks memory, opens files or starts threads or processes without end, takes its own
replica along, and nothing else. What it has started goes too: it is stopped first, so that it
starts no more meanwhile.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from anabranch.control.engine.supervision.snapshot import ProcessLook, below, look, open_files
from anabranch.control.settings.process_bounds import ProcessBounds
from anabranch.pulse import Reading
from anabranch.serve.heartbeat import EXCESSIVE, PulseFile

logger = logging.getLogger("anabranch.supervisor")

_MIB = 2**20
_ROUNDS = 16
"""How often what a process has started is looked for again, while more of it comes."""
_MOST_OPEN = 0.9
"""Share of the files that the system lets a process open, beyond which it can soon open no more."""


class ExcessiveProcesses:
    """Looks at the processes whose pulses are in the folder of an engine's sockets."""

    def __init__(self, sockets: Path, bounds: ProcessBounds) -> None:
        self._sockets = sockets
        self._bounds = bounds

    def kill_among(self, processes: Mapping[int, ProcessLook]) -> None:
        """Kill those that take too much."""
        for pulse in PulseFile.all_in(self._sockets):
            if not pulse.end:
                self._look(pulse, processes)

    def _look(self, pulse: PulseFile, processes: Mapping[int, ProcessLook]) -> None:
        own, reading = processes.get(pulse.pid), pulse.read()
        if own is None or own.began != pulse.began or reading is None or not reading.graph:
            return
        why = self._excess(own, list(below(pulse.pid, processes)), reading)
        if why:
            self._end(pulse, reading, why)

    def _excess(self, own: ProcessLook, started: Iterable[ProcessLook], reading: Reading) -> str:
        """Return what a process, or one that it has started, has too much of; empty if nothing."""
        bounds, started = self._bounds, list(started)
        most = reading.memory or bounds.memory
        for one in (own, *started):
            if one.memory > most:
                return f"took {one.memory // _MIB} MiB of memory, over its {most // _MIB} MiB"
            if one.threads > bounds.threads:
                return f"had {one.threads} threads, over the limit of {bounds.threads}"
            files, most_files = open_files(one.pid), min(bounds.files, _openable(one.pid))
            if files > most_files:
                return f"had {files} open files, over the limit of {most_files}"
        if len(started) > bounds.processes:
            return f"had started {len(started)} processes, over the limit of {bounds.processes}"
        return ""

    def _end(self, pulse: PulseFile, reading: Reading, why: str) -> None:
        last = f", node {reading.node!r} was called last" if reading.node else ""
        logger.error(
            "a process of graph %r (%d) %s%s; killing it", reading.graph, pulse.pid, why, last
        )
        with suppress(OSError):
            pulse.mark_ended(EXCESSIVE, why)
        end_tree(pulse.pid)


def _openable(pid: int) -> int:
    """Return nine tenths of the files that the system lets a process have open."""
    with suppress(OSError):
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY:
            return int(_MOST_OPEN * limit)
    return sys.maxsize


def end_tree(pid: int) -> None:
    """Kill a process and all that it has started, however fast it starts more."""
    _signal([pid], signal.SIGSTOP)
    known: set[int] = set()
    for _ in range(_ROUNDS):
        news = {one.pid for one in below(pid, look())} - known
        if not news:
            break
        _signal(news, signal.SIGSTOP)
        known |= news
    _signal([*known, pid], signal.SIGKILL)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)
