"""The memory that the processes of each revision take on the engine's machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from anabranch.serve.heartbeat import PulseFile

AGE_S = 10.0
"""Time for which a measurement holds, in seconds: the kernel takes some milliseconds a process."""
_PROC = Path("/proc")


class RevisionMemory:
    """Measures by the pulses in the folder of an engine's sockets; without one all is unknown."""

    def __init__(self, sockets: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._sockets = sockets
        self._clock = clock
        self._taken: Mapping[tuple[str, int], int] = {}
        self._until = -1.0

    def taken(self) -> Mapping[tuple[str, int], int]:
        """Return bytes by graph and revision, a few seconds old at most.

        A page that several processes share counts for each in part (proc_pid_smaps(5), Pss).
        A process of many graphs counts for none.
        """
        now = self._clock()
        if self._sockets is not None and now >= self._until:
            self._taken, self._until = _measured(self._sockets), now + AGE_S
        return self._taken


def _measured(sockets: Path) -> Mapping[tuple[str, int], int]:
    found: Counter[tuple[str, int]] = Counter()
    for pulse in PulseFile.all_in(sockets):
        reading = None if pulse.end else pulse.read()
        if reading is not None and reading.graph:
            with suppress(OSError, ValueError):
                found[reading.graph, int(reading.revision)] += _pss(pulse.pid)
    return found


def _pss(pid: int) -> int:
    """Return the memory of a process in bytes, its share of what it shares included."""
    lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
