"""Makes events of the processes of graphs that the supervisor has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from anabranch.control.store.store import Store
from anabranch.pulse import Reading
from anabranch.serve.heartbeat import EXCESSIVE, PulseFile

PERIOD_S = 1.0
"""Time between two looks at what the supervisor has left, in seconds."""


class HungProcesses:
    """Looks for the pulses of ended processes in the folder of an engine's sockets."""

    def __init__(self, store: Store, sockets: Path | None) -> None:
        self._store = store
        self._sockets = sockets

    async def run(self) -> None:
        """Look each second, for ever."""
        while True:
            await asyncio.to_thread(self.round)
            await asyncio.sleep(PERIOD_S)

    def round(self) -> None:
        """Write an event for each process of a graph, and remove its pulse."""
        for pulse in () if self._sockets is None else PulseFile.all_in(self._sockets):
            if pulse.end:
                reading = pulse.read()
                if reading is not None and reading.graph:
                    self._note(pulse, reading)
                pulse.path.unlink(missing_ok=True)

    def _note(self, pulse: PulseFile, reading: Reading) -> None:
        last = f"node {reading.node!r} was called last in a process that"
        if pulse.end == EXCESSIVE:
            kind, why = "process_excessive", pulse.read_note()
            message = f"{last if reading.node else 'a process'} {why} and was replaced"
            data: dict[str, Any] = {"node": reading.node, "reason": why}
        elif reading.node:
            kind, seconds = "node_hung", round(reading.patience, 3)
            message = (
                f"{last} did not answer for {seconds:g}s and was replaced: the node may hold "
                "Python's lock"
            )
            data = {"node": reading.node, "seconds": seconds}
        else:
            return
        self._store.log(reading.graph, int(reading.revision), kind, message, data)
