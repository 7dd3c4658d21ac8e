"""Serve's controller once it has grown: it is killed, and Ray starts another that goes on.

Serve keeps the class of the replicas, the configuration and the targets of each application that
there ever was, and so of each revision. No request needs the controller.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

import psutil

from anabranch.control.engine import processes

logger = logging.getLogger("anabranch.supervisor")

MOST = 256 * 2**20
"""Bytes by which the process may grow."""
LEAST_S = 3600.0
"""Time in seconds that it may have in any case: what there is now may need the memory."""
TURN_S = 60.0
"""Pause between two looks at its memory."""
_TITLE = "ray::ServeController"
clock = time.monotonic


class GrownController:
    """Looks at the memory of Serve's controller; ``runtime`` is the engine's private folder."""

    def __init__(self, engine_id: str, runtime: Path) -> None:
        self._engine = engine_id, runtime
        self._looked = clock()
        self._process: psutil.Process | None = None
        self._since = 0.0
        self._first = 0

    def kill(self) -> None:
        """Kill it if it has grown for long enough; to be called often."""
        now = clock()
        if now - self._looked < TURN_S:
            return
        self._looked = now
        with suppress(psutil.Error):
            self._look(now)

    def _look(self, now: float) -> None:
        process = self._found()
        if process is None:
            return
        size = process.memory_full_info().uss
        if process != self._process:
            self._process, self._since, self._first = process, now, size
        grown = size - self._first
        if grown > MOST and now - self._since >= LEAST_S:
            logger.warning(
                "Serve's controller (%d) has grown by %d MiB; killing it, another goes on",
                process.pid, grown >> 20,
            )  # fmt: skip
            process.kill()

    def _found(self) -> psutil.Process | None:
        for process in processes.running():
            with suppress(psutil.Error):
                title = (process.cmdline() or [""])[0]
                if title.startswith(_TITLE) and processes.belongs(process.pid, *self._engine):
                    return process
        return None
