"""Metrics of all processes of the engine, summed for the gateway's ``/metrics``.

Processes tell their sums again and again, and only those that have changed. Of one that has ended
its counters and histograms stay, so that they never shrink; gauges go with it.

A controller that starts anew begins at nothing, which Prometheus takes for a reset. What processes
had told the one before is left out for good: it was shown already, and shown again below a reset it
would count twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from anabranch.telemetry.registry import Labels, Snapshot, Value, lasting, merged, minus

SILENCE_S = 30.0
"""A process that was not heard of for so long has ended."""
KEEP_S = 3600.0
"""Time for which the sums of ended processes are kept that no other process counts."""

Sums = dict[str, dict[Labels, Value]]


@dataclass
class _Process:
    """A process that runs: its sums, and those that it had before it was first heard of here."""

    base: Snapshot
    sums: Sums = field(default_factory=dict)
    at: float = 0.0

    def since(self, only: Collection[str] | None = None) -> Snapshot:
        """Return the sums that count here: those since the process was first heard of."""
        sums, base = _those(self.sums, only), _those(self.base, only)
        return minus(sums, base) if base else sums


class ProcessSums:
    """The sums of all processes; ``clock`` is monotonic, in seconds. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._processes: dict[str, _Process] = {}
        self._ended: Sums = {}
        self._ended_at: dict[tuple[str, Labels], float] = {}

    def take(
        self, process: str, sums: Snapshot, base: Snapshot | None = None, is_last: bool = False
    ) -> bool:
        """Take over the sums that have changed in a process; by metric, all of its cells.

        False if the process is not known: then nothing is taken, and it has to tell all of its
        sums, and as ``base`` those that an earlier controller has taken.
        """
        known = self._processes.get(process)
        if known is None:
            if base is None:
                return False
            known = self._processes[process] = _Process(base)
        known.sums.update({name: dict(cells) for name, cells in sums.items()})
        known.at = self._clock()
        if is_last:
            self._end(process)
        return True

    def totals(self, only: Collection[str] | None = None) -> Sums:
        """The sums of all processes together; only the metrics of these names, if any are given."""
        self._forget()
        ended = _those(self._ended, only)
        return merged([ended, *(one.since(only) for one in self._processes.values())])

    def _forget(self) -> None:
        now = self._clock()
        for name in [n for n, one in self._processes.items() if now - one.at >= SILENCE_S]:
            self._end(name)
        for (name, labels), at in list(self._ended_at.items()):
            if now - at >= KEEP_S and not self._is_live(name, labels):
                del self._ended[name][labels], self._ended_at[name, labels]

    def _is_live(self, name: str, labels: Labels) -> bool:
        return any(labels in one.sums.get(name, {}) for one in self._processes.values())

    def _end(self, process: str) -> None:
        left = lasting(self._processes.pop(process).since())
        self._ended = merged([self._ended, left])
        now = self._clock()
        self._ended_at.update({(name, key): now for name, cells in left.items() for key in cells})


def _those(sums: Snapshot, only: Collection[str] | None) -> Snapshot:
    return sums if only is None else {name: sums[name] for name in only if name in sums}
