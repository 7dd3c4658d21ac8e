"""What the control API says of graphs, revisions and segments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ray.serve._private.common import ReplicaState

from anabranch.control import serving
from anabranch.control.reconcile import Part, app_name
from anabranch.control.store import Graph, Revision
from anabranch.graph.lowering.segments import replicas
from anabranch.graph.plan import Plan
from anabranch.router.gateway import GraphState

Apps = Mapping[str, Any]
"""Serve's details of its applications, by name."""


def graph_view(graph: Graph, revisions: list[Revision], apps: Apps, url: str) -> dict[str, Any]:
    """A graph in short; ``state`` is live, deploying, unhealthy, failed or deleting."""
    return {
        "graph": graph.name,
        "state": _state(graph, revisions, apps),
        "live": graph.live,
        "created_at": timestamp(graph.created_at),
        "url": f"{url}/v2/models/{graph.name}",
    }


def _state(graph: Graph, revisions: list[Revision], apps: Apps) -> str:
    if graph.state == "deleting":
        return "deleting"
    if any(revision.state in ("pending", "deploying") for revision in revisions):
        return "deploying"
    if graph.live is None:
        return "failed"
    status = _status(apps, graph.name)
    return {"RUNNING": "live", "UNHEALTHY": "unhealthy", "DEPLOY_FAILED": "unhealthy"}.get(
        status, "deploying"
    )


def revision_view(revision: Revision) -> dict[str, Any]:
    """A revision without its spec."""
    return {
        "graph": revision.graph,
        "revision": revision.number,
        "state": revision.state,
        "reason": revision.reason,
        "author": revision.author,
        "message": revision.message,
        "created_at": timestamp(revision.created_at),
        "digest": revision.digest,
    }


def segments_view(plan: Plan, number: int, apps: Apps) -> list[dict[str, Any]]:
    """A revision's segments, each with how many of its replicas run."""
    views = []
    for index, segment in enumerate(plan.segments):
        part: Part = "segments" if index else "router"
        app = apps.get(app_name(plan.name, part, number), {})
        name = segment.name if index else serving.ROUTER
        deployment = app.get("deployments", {}).get(name, {})
        views.append(
            {
                "name": segment.name,
                "nodes": list(segment.nodes),
                "replicas": deployment.get("target_num_replicas", replicas(segment)),
                "running": sum(map(_runs, deployment.get("replicas", ()))),
            }
        )
    return views


def ready_state(graph: str, revisions: list[Revision], apps: Apps) -> GraphState:
    """How a graph with at least one unsettled revision is doing."""
    live = next((revision for revision in revisions if revision.state == "live"), None)
    if live is None:
        coming = revisions[-1]
        return GraphState(
            revision=coming.number,
            live=False,
            ready=False,
            reason=f"revision {coming.number} is being deployed",
        )
    if graph not in apps:
        return GraphState(
            revision=live.number,
            live=True,
            ready=False,
            reason=f"revision {live.number} is being brought back",
        )
    return _live_state(live.number, apps[graph])


def _live_state(number: int, app: Mapping[str, Any]) -> GraphState:
    """While a router is being rolled, the replicas of the old revision answer."""
    router = app["deployments"].get(serving.ROUTER, {})
    running = any(map(_runs, router.get("replicas", ())))
    why = "" if running else serving.reason(app) or "no replica of its router runs"
    return GraphState(revision=number, live=True, ready=running, reason=why)


def _runs(replica: Mapping[str, Any]) -> bool:
    return bool(replica["state"] == ReplicaState.RUNNING)


def _status(apps: Apps, name: str) -> str:
    status = apps.get(name, {}).get("status", "")
    return str(getattr(status, "value", status))


def timestamp(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
