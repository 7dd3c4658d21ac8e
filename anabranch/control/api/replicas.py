"""The control API's endpoint that shows replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Routes,
    answer,
    present,
    views,
)
from anabranch.control.reconcile import serving
from anabranch.control.store.store import Store
from anabranch.control.timestamps import timestamp
from anabranch.router.table import Part, parse_app

Apps = Mapping[str, Any]
"""Serve's details of its applications, by name."""

DEAD = "DEAD"
"""State of a replica that is gone; Serve remembers a few of each deployment."""


class ReplicaApi:
    """Answers what shows replicas.

    | method | path below ``/graphs/<graph>`` | answers |
    |---|---|---|
    | GET | ``/replicas`` | ``{"graph", "replicas": [...]}``, see ``replicas_view`` |
    """

    def __init__(self, store: Store, applications: Callable[[], Apps]) -> None:
        self._store = store
        self._applications = applications
        self.routes: Routes = {f"{GRAPH}/replicas": views(self._show)}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        await asyncio.to_thread(present, self._store, call.graph)
        found = list(replicas_view(self._applications(), call.graph))
        return answer(200, {"graph": call.graph, "replicas": found})


def replicas_view(apps: Apps, graph: str) -> Iterator[dict[str, Any]]:
    """The replicas of a graph, by part and deployment, those that are gone last.

    ``part`` is that of the application, ``deployment`` the segment or ``router``. ``revision`` is
    null for routers, which change theirs. ``state`` is Serve's, such as RUNNING or STARTING.
    """
    for name in sorted(apps):
        parsed = parse_app(name)
        if parsed is None or parsed[0] != graph:
            continue
        _, part, revision = parsed
        deployments = apps[name].get("deployments", {})
        for deployment in sorted(deployments):
            yield from _of_deployment(deployments[deployment], part, deployment, revision)


def _of_deployment(
    found: Mapping[str, Any], part: Part, deployment: str, revision: int | None
) -> Iterator[dict[str, Any]]:
    running = {str(one["replica_id"]): one for one in found.get("replicas", ())}
    dead = [
        one
        for one in found.get("recent_dead_replicas") or ()
        if str(one["replica_id"]) not in running
    ]
    place = {"part": part, "deployment": deployment, "revision": revision}
    for one in running.values():
        yield {**place, **_view(one, serving.text_of(one["state"]))}
    for one in dead:
        yield {**place, **_view(one, DEAD)}


def _view(replica: Mapping[str, Any], state: str) -> dict[str, Any]:
    started = replica.get("start_time_s")
    return {
        "replica": str(replica["replica_id"]),
        "state": state,
        "pid": replica.get("pid"),
        "node": replica.get("node_ip"),
        "started_at": timestamp(started) if started else None,
    }
