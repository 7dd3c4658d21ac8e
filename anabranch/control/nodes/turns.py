"""Machines of an engine that was started anew join it one after the other.

Until then each of them answers requests with replicas of the start before. So one gets its turn
once all graphs are up here that have room, and once the machine before it is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from anabranch.control.nodes.node import ClusterLook
from anabranch.errors import Unavailable

LONGEST_S = 60.0
"""Time that a machine waits for graphs, or for the machine before it, in seconds."""
SETTLED_S = 5.0
"""Time from the arrival of a machine until the graphs that were waiting for it are seen to start
there, in seconds."""
_NAMED = 5
"""Graphs that are named at most."""


@dataclass
class _Turn:
    machine: str
    name: str
    since: float
    arrived: float | None = None


class JoinTurns:
    """Whose turn it is. ``starting`` gives the graphs that start and wait for no machine; None
    before that is known. Not safe to use from several threads.
    """

    def __init__(
        self,
        starting: Callable[[], Collection[str] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._starting = starting
        self._clock = clock
        self._turn: _Turn | None = None
        self._free_since: float | None = None

    def take(self, machine: str, name: str, look: ClusterLook) -> None:
        """Give a machine its turn; Unavailable where it has to ask again, with the reason."""
        now = self._clock()
        if self._turn is not None and self._turn.machine != machine:
            self._require_back(self._turn, look, now)
        if self._free_since is None:
            self._free_since = now
        graphs = self._starting()
        if now - self._free_since < LONGEST_S and (graphs is None or graphs):
            named = ", ".join(sorted(graphs or ())[:_NAMED]) or "all"
            raise Unavailable(f"the machine has to wait until graphs are up: {named}")
        self._turn, self._free_since = _Turn(machine, name, now), None

    def _require_back(self, turn: _Turn, look: ClusterLook, now: float) -> None:
        """End a turn; Unavailable before it is over."""
        is_there = any(one.machine == turn.machine and one.is_here for one in look.nodes)
        if turn.arrived is None and is_there:
            turn.arrived = now
        is_back = turn.arrived is not None and now - turn.arrived >= SETTLED_S
        if not is_back and now - turn.since < LONGEST_S:
            raise Unavailable(f"the machine has to wait until {turn.name!r} has joined again")
        self._turn = None
