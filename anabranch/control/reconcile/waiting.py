"""What replicas wait for that Ray has not placed, since no machine has room for them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from anabranch.control.nodes.node import ClusterLook
from anabranch.control.reconcile import room
from anabranch.control.reconcile.fleet import Place, deployments
from anabranch.control.reconcile.room import Need
from anabranch.errors import Unavailable

_PATIENCE_S = 1.0
"""Seconds for which a replica may look for a machine before that counts as waiting."""
_LOOK_S = 1.0
"""Shortest time between two questions to Ray."""


@dataclass(frozen=True)
class Waits:
    """How many replicas of a segment wait, for what, and why there is no room."""

    replicas: int
    need: str
    reason: str

    def __str__(self) -> str:
        return f"{self.need}: {self.reason}"


class UnplacedReplicas:
    """The segments with replicas that wait for room, as of the last look; ``look`` asks Ray."""

    def __init__(self, look: Callable[[], ClusterLook]) -> None:
        self.look = look
        self.may_grow = False
        """Whether they may wait: there may be more machines."""
        self._looked = float("-inf")
        self._found: Mapping[Place, Waits] = {}

    @property
    def counts(self) -> Mapping[Place, int]:
        """How many replicas of each segment wait."""
        return {place: waits.replicas for place, waits in self._found.items()}

    def see(self, applications: Mapping[str, Any]) -> None:
        """Look at what Serve says of its applications, and ask Ray where replicas have no machine.

        Blocks while Ray answers; where it does not, what it said before holds.
        """
        unplaced = list(_unplaced(applications))
        if unplaced and time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        with suppress(Unavailable):
            self._found = self._look(unplaced) if unplaced else {}

    def _look(self, unplaced: Sequence[tuple[Place, Need, int]]) -> dict[Place, Waits]:
        found = self.look()
        self.may_grow = found.may_grow
        return {
            place: Waits(number, str(need), room.hindrance(need, room.usable(found)))
            for place, need, number in unplaced
            if need.is_in(found.pending)
        }

    def of(self, graph: str, revision: int, segment: str) -> Waits | None:
        """Return what replicas of a segment wait for; None if none waits."""
        return self._found.get((graph, str(revision), segment))

    def told(self, graph: str, revision: int) -> str:
        """Return what a revision waits for, in words; empty if it waits for no machine."""
        return "; ".join(
            f"waits for {waits.need} for segment {segment!r}: {waits.reason}"
            for (name, number, segment), waits in sorted(self._found.items())
            if (name, number) == (graph, str(revision))
        )


def _unplaced(applications: Mapping[str, Any]) -> Iterator[tuple[Place, Need, int]]:
    """Yield the segments with replicas that have been without a machine for a while."""
    late = time.time() - _PATIENCE_S
    needs: dict[Place, Need] = {}
    counts: Counter[Place] = Counter()
    for place, deployment in deployments(applications):
        number = sum(_is_unplaced(replica, late) for replica in deployment.get("replicas", ()))
        if number:
            counts[place] += number
            needs.setdefault(place, _need(deployment))
    for place, need in needs.items():
        yield place, need, counts[place]


def _is_unplaced(replica: Mapping[str, Any], late: float) -> bool:
    is_starting = replica["state"] == "STARTING"
    started = float(replica.get("start_time_s") or 0.0)
    return is_starting and not replica.get("node_id") and started < late


def _need(deployment: Mapping[str, Any]) -> Need:
    config = deployment.get("deployment_config") or {}
    return Need.of(config.get("ray_actor_options") or {}, config.get("max_replicas_per_node"))
