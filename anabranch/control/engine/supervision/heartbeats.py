"""Processes of an engine whose heartbeat is missing: they are killed, and replaced as dead ones.

Only time counts in which a process could have beaten: that of a processor that it has used, and
that in which no thread of it wanted one. A process that a busy machine or a debugger keeps from
running is none of these.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from anabranch.pulse import SIZE, beats_in
from anabranch.serve.heartbeat import HUNG, STACKS, PulseFile

logger = logging.getLogger("anabranch.supervisor")

TURN_S = 0.4
"""Least pause between two looks at the pulses; the supervisor's turns take a little longer."""
_STACKS_S = 0.5
"""Time to write down what all threads do, in seconds."""
_STACKS_BYTES = 8192
_PAUSE_S = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_KEPT = "RDTt"
"""States of a thread that waits for a processor, a disk or a debugger, proc_pid_stat(5)."""
clock = time.monotonic


class Stat(NamedTuple):
    """What Linux says of a process or thread: state, seconds of a processor, and its start."""

    state: str
    used: float
    began: str

    @classmethod
    def of(cls, folder: Path) -> Stat | None:
        """Read it in a folder of ``/proc``; None for one that has ended."""
        try:
            text = (folder / "stat").read_text()
        except OSError:
            return None
        words = text.rpartition(")")[2].split()
        if words[0] in "ZX":
            return None
        return cls(words[0], (int(words[11]) + int(words[12])) / _TICKS, words[19])


@dataclass
class _Missing:
    """A pulse without a new beat: ``silent`` is the time that counts, in seconds."""

    beats: int
    used: float
    silent: float = 0.0


class Heartbeats:
    """Looks at the pulses in the folder of an engine's sockets."""

    def __init__(self, sockets: Path) -> None:
        self._sockets = sockets
        self._missing: Mapping[Path, _Missing] = {}
        self._looked = clock()

    def kill(self) -> None:
        """Kill those that have been silent for long; to be called often."""
        now = clock()
        passed = now - self._looked
        if passed < TURN_S:
            return
        self._looked = now
        self._missing = {
            pulse.path: found
            for pulse in PulseFile.all_in(self._sockets)
            if not pulse.end and (found := self._look(pulse, min(passed, 2 * TURN_S))) is not None
        }

    def _look(self, pulse: PulseFile, passed: float) -> _Missing | None:
        """What is known of a process by its pulse; None of one that is no more."""
        try:
            with pulse.path.open("rb", buffering=0) as file:
                beats = beats_in(file.read(8))
        except OSError:
            return None
        before = self._missing.get(pulse.path)
        if before is not None and beats not in (0, before.beats):
            return _Missing(beats, before.used)
        process = _PROC / str(pulse.pid)
        stat = Stat.of(process)
        if stat is None or stat.began != pulse.began:
            pulse.remove_sockets()
            pulse.path.unlink(missing_ok=True)
            return None
        if before is None or not beats:
            return _Missing(beats, stat.used)
        used = min(passed, stat.used - before.used)
        silent = before.silent + (used if _is_kept(process) else passed)
        if not self._is_over(pulse, silent):
            return _Missing(beats, stat.used, silent)
        return None

    def _is_over(self, pulse: PulseFile, silent: float) -> bool:
        """Kill a process that has been silent for longer than its patience, and is still."""
        reading = pulse.read()
        if reading is None:
            return True
        if silent < reading.patience:
            return False
        about = f"a process of graph {reading.graph!r}" if reading.graph else "a process"
        last = f", node {reading.node!r} was called last" if reading.node else ""
        stacks = _stacks(pulse)
        if (later := pulse.read()) is None or later.beats != reading.beats:
            return True  # it has just gone on
        logger.error(
            "%s (%d) has not answered for %.0f s%s; killing it. What its threads did:\n%s",
            about, pulse.pid, silent, last, stacks,
        )  # fmt: skip
        with suppress(OSError):
            os.kill(pulse.pid, signal.SIGKILL)
            pulse.mark_ended(HUNG)
        return True


def _is_kept(process: Path) -> bool:
    """Return whether something else keeps a thread of the process from running."""
    with suppress(OSError):
        threads = [Stat.of(one) for one in (process / "task").iterdir()]
        return any(one is not None and one.state in _KEPT for one in threads)
    return False


def _stacks(pulse: PulseFile) -> str:
    """Have a process write down what its threads do; at most the first 8 KiB of that."""
    ends, found, before = time.monotonic() + _STACKS_S, b"", None
    with suppress(OSError):
        os.kill(pulse.pid, STACKS)
        while time.monotonic() < ends and (before is None or not found or found != before):
            time.sleep(_PAUSE_S)
            before, found = found, pulse.path.read_bytes()[SIZE:]
    return found[:_STACKS_BYTES].decode(errors="replace")
