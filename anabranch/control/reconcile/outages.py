"""Segments that are down: since when, and why; as views, metrics and events.

A segment is down that should have a running replica, and has none: because it had one, or because
Serve says that it cannot keep one running. One that sleeps, or starts for the first time, is not.
What is seen is as fine as the reconciler looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.control.reconcile import serving
from anabranch.control.reconcile.fleet import Place, deployments
from anabranch.control.store.records import Event
from anabranch.control.store.store import Store
from anabranch.telemetry.definitions import SEGMENT_DOWN
from anabranch.telemetry.registry import REGISTRY, Registry

DOWN = "segment_down"
"""Kind of the event with which an outage begins."""
_SICK = frozenset(("UNHEALTHY", "DEPLOY_FAILED"))
_HEALTHY = "HEALTHY"


@dataclass(frozen=True)
class Outage:
    """A segment is down ``since`` a Unix time, for a ``reason``, which may be empty."""

    since: float
    reason: str


class Outages:
    """The segments that are down, of all graphs.

    ``log`` takes events, ``told`` gives those of a revision about its segments, oldest first, and
    ``alive`` the ids of Ray's nodes that are up: all may block. ``clock`` gives Unix times.
    """

    def __init__(
        self,
        log: Store,
        told: Callable[[str, int], Sequence[Event]],
        alive: Callable[[], Collection[str]] = serving.alive_nodes,
        registry: Registry = REGISTRY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._told = told
        self._alive = alive
        self._registry = registry
        self._clock = clock
        self._nodes: Mapping[Place, frozenset[str]] = {}
        """Nodes of the replicas that each segment last had running; none where it sleeps."""
        self.now: Mapping[Place, Outage] = {}
        """The segments that are down now."""

    def of(self, graph: str, revision: int | None) -> dict[str, Outage]:
        """Return the segments of a revision that are down."""
        place = (graph, str(revision))
        return {segment: one for (*rest, segment), one in self.now.items() if (*rest,) == place}

    def see(self, applications: Mapping[str, Any], up: Collection[tuple[str, int]]) -> None:
        """Take what Serve says of its applications, of the revisions that are up. Blocks."""
        nodes: dict[Place, frozenset[str]] = {}
        down: dict[Place, str] = {}
        shown = _shown(applications, {(graph, str(number)) for graph, number in up})
        for place, deployment in shown.items():
            known = self._nodes.get(place)
            running = _running_on(deployment)
            if running is not None:
                nodes[place] = running
            elif _is_asleep(deployment):
                nodes[place] = frozenset()
            elif known or str(serving.text_of(deployment["status"])) in _SICK:
                down[place] = str(deployment.get("message") or "")
            if place not in nodes and known is not None:
                nodes[place] = known
        self._nodes = nodes
        self._take(down)
        self._show(shown.keys())

    def _take(self, down: Mapping[Place, str]) -> None:
        """Note outages that begin and end; one of which no event could be kept, the next time."""
        before, moment = self.now, self._clock()
        lost = self._lost_nodes(down)
        since = {place: one.since for place, one in before.items()}
        for place in down.keys() - since.keys() - self._nodes.keys():
            since |= self._remembered(place)
        now = {
            place: Outage(since.get(place, moment), _why(self._nodes.get(place), lost, text))
            for place, text in down.items()
        }
        for place in now.keys() - since.keys():
            because = f": {now[place].reason}" if now[place].reason else ""
            self._tell(place, DOWN, f"has no healthy replica{because}", now[place])
            self.now = {**self.now, place: now[place]}
        for place in (before.keys() - now.keys()) & self._nodes.keys():
            ended = before[place]
            seconds = round(moment - ended.since, 1)
            what = f"is no longer down, after {seconds:g}s"
            self._tell(place, "segment_up", what, ended, seconds=seconds)
            self.now = {other: one for other, one in self.now.items() if other != place}
        self.now = now

    def _remembered(self, place: Place) -> dict[Place, float]:
        """Return since when a segment is down that was so when this controller began, if it was."""
        graph, revision, segment = place
        told = [one for one in self._told(graph, int(revision)) if one.data["segment"] == segment]
        return {place: told[-1].at} if told and told[-1].kind == DOWN else {}

    def _lost_nodes(self, down: Collection[Place]) -> frozenset[str]:
        known = frozenset[str]().union(*(self._nodes.get(place, frozenset()) for place in down))
        return known - frozenset(self._alive()) if known else known

    def _tell(self, place: Place, kind: str, what: str, outage: Outage, **more: Any) -> None:
        graph, revision, segment = place
        data = {"segment": segment, "reason": outage.reason, **more}
        self._log.log(graph, int(revision), kind, f"segment {segment!r} {what}", data)

    def _show(self, places: Collection[Place]) -> None:
        self._registry.show(SEGMENT_DOWN, {place: place in self.now for place in places})


def _shown(
    applications: Mapping[str, Any], up: Collection[tuple[str, str]]
) -> dict[Place, Mapping[str, Any]]:
    """Return the deployments of segments; of a head that has two, one that runs."""
    found: dict[Place, Mapping[str, Any]] = {}
    for place, one in deployments(applications):
        if place[:2] in up and not _is_going(one) and (place not in found or _running_on(one)):
            found[place] = one
    return found


def _is_going(deployment: Mapping[str, Any]) -> bool:
    """Return whether nothing of a deployment is to run any more."""
    return serving.text_of(deployment.get("status_trigger")) == "DELETING"


def _running_on(deployment: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the nodes of the replicas that run; None where none runs."""
    replicas = deployment.get("replicas", ())
    running = [one for one in replicas if serving.text_of(one["state"]) == "RUNNING"]
    return frozenset(str(one.get("node_id")) for one in running) if running else None


def _is_asleep(deployment: Mapping[str, Any]) -> bool:
    """Return whether there is no replica on purpose."""
    if deployment.get("target_num_replicas") == 0:  # the last one may still be ending
        return True
    return not deployment.get("replicas") and serving.text_of(deployment["status"]) == _HEALTHY


def _why(nodes: frozenset[str] | None, lost: frozenset[str], text: str) -> str:
    if nodes and nodes <= lost:
        return "its node is lost" if len(nodes) == 1 else "its nodes are lost"
    return serving.short_reason(text)
