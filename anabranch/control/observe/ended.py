"""Processes of graphs that the supervisor of this machine has ended, by the pulses that they left.

They are told until whoever asks says that they were heard, so that none is lost on the way.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from anabranch.serve.heartbeat import PulseFile


class EndedProcess(NamedTuple):
    """A process that did not answer, or took too much of its machine."""

    pulse: str
    """Name of the file of its pulse, which no other process of the machine has."""
    end: str
    """``HUNG`` or ``EXCESSIVE``."""
    graph: str
    revision: str
    node: str
    """The node that was called last; empty for none."""
    patience: float
    """Seconds without a beat after which it was ended."""
    note: str
    """Why it was ended, where it took too much."""


def ended(sockets: Path | None, heard: Collection[str] = ()) -> list[EndedProcess]:
    """Return the processes of graphs that were ended; those of the pulses ``heard`` are forgotten.

    ``sockets`` is the folder of this machine's sockets, None where there is none.
    """
    found = []
    for pulse in () if sockets is None else PulseFile.all_in(sockets):
        if not pulse.end:
            continue
        reading = pulse.read()
        if reading is None or not reading.graph or pulse.path.name in heard:
            pulse.path.unlink(missing_ok=True)
            continue
        about = (reading.graph, reading.revision, reading.node, reading.patience)
        found.append(EndedProcess(pulse.path.name, pulse.end, *about, pulse.read_note()))
    return found
