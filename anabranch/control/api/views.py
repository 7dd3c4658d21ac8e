"""JSON of the control API about graphs, revisions and segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.reconcile import serving
from anabranch.control.reconcile.outages import Outage
from anabranch.control.reconcile.waiting import Waits
from anabranch.control.store.store import RevisionInfo, Stored
from anabranch.control.timestamps import timestamp, timestamp_if_any
from anabranch.control.watching.watcher import WatchedModel
from anabranch.graph.plan.dependence import blocked_outputs
from anabranch.graph.plan.plan import Plan
from anabranch.router.backend import GraphState
from anabranch.router.table import ROUTER, Part, app_name, router_app
from anabranch.serve.scaling.scaling import fewest
from anabranch.specs.excerpts import listing

Apps = Mapping[str, Any]
"""Serve's details of its applications, by name."""

_SICK = ("UNHEALTHY", "DEPLOY_FAILED")


def graph_view(stored: Stored, apps: Apps, url: str, obstacle: str = "") -> dict[str, Any]:
    """A graph in short; ``state`` is live, asleep, deploying, unhealthy, failed, unloaded or
    deleting. Where there is an ``obstacle`` for an output, it is unhealthy.
    """
    now = stored.situation
    state = now.rollout
    return {
        "graph": now.graph,
        "state": _state(now, apps.get(router_app(now.graph), {}), obstacle),
        "obstacle": obstacle,
        "live": now.stable,
        "created_at": timestamp(stored.created),
        "url": f"{url}/v2/models/{now.graph}",
        "rollout": state
        and {"revision": state.revision, "phase": state.phase, "weight": state.weight},
    }


def _state(now: Situation, router: Mapping[str, Any], obstacle: str) -> str:
    if now.state in ("unloaded", "deleting"):
        return now.state
    if now.coming:
        return "deploying"
    if now.stable is None:
        return "failed"
    if _status(router) in _SICK:
        return "unhealthy"
    if _running(router, ROUTER):
        return "unhealthy" if obstacle else "live"
    return "asleep" if _is_asleep(router) else "deploying"


def inlined(graph: str, apps: Apps) -> int | None:
    """The revision that every router of a graph carries; None while they are being rolled."""
    router = apps.get(router_app(graph))
    if router is None or _status(router) == "DEPLOYING":
        return None
    return serving.router_revision(router)


def revision_view(revision: RevisionInfo) -> dict[str, Any]:
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
        "intent": revision.intent.to_json(),
        "pins": dict(revision.pins),
        "live_at": timestamp_if_any(revision.live_at),
        "expires_at": timestamp_if_any(revision.expires_at),
    }


def watch_view(one: WatchedModel) -> dict[str, Any]:
    """A model that a graph watches; ``found`` is null before the first look."""
    return {
        "model": one.model,
        "nodes": list(one.nodes),
        "every": one.every,
        "pin": one.pin,
        "found": one.found or None,
        "looked_at": timestamp_if_any(one.looked_at),
        "trouble": one.trouble,
        "since": timestamp_if_any(one.since),
    }


def segments_view(
    plan: Plan,
    number: int,
    apps: Apps,
    down: Mapping[str, Outage],
    waiting: Callable[[str, int, str], Waits | None],
) -> list[dict[str, Any]]:
    """A revision's segments, each with how many of its replicas run, and if it is down since when.

    ``down_since`` is null unless it is, and ``reason`` why it is, as far as that is known.
    ``waiting`` replicas wait for a machine that has room, and for what, which is null without any.
    """
    views = []
    for index, segment in enumerate(plan.own_segments):
        part: Part = "segments" if index else "router"
        app = apps.get(app_name(plan.name, part, number), {})
        name = segment.name if index else ROUTER
        deployment = app.get("deployments", {}).get(name, {})
        waits = waiting(plan.name, number, segment.name)
        views.append(
            {
                "name": segment.name,
                "nodes": list(segment.nodes),
                "replicas": deployment.get("target_num_replicas", fewest(segment.scaling)),
                "running": _running(app, name),
                **_outage(down.get(segment.name)),
                "waiting": 0 if waits is None else waits.replicas,
                "waits_for": None if waits is None else str(waits),
            }
        )
    return views


def _outage(found: Outage | None) -> dict[str, Any]:
    if found is None:
        return {"down_since": None, "reason": ""}
    return {"down_since": timestamp(found.since), "reason": found.reason}


def blocked(plan: Plan, down: Mapping[str, Outage]) -> str:
    """Return which outputs cannot be computed while segments are down, and why; empty if none."""
    outputs = blocked_outputs(plan, down)
    if not outputs:
        return ""
    why = "; ".join(
        f"segment {name!r} is down since {timestamp(one.since)}"
        + (f" ({one.reason})" if one.reason else "")
        for name, one in sorted(down.items())
    )
    return f"output {listing(map(repr, outputs))} cannot be computed: {why}"


def ready_state(now: Situation, apps: Apps, obstacle: str = "") -> GraphState | None:
    """How a graph is doing that has a stable revision, or its first on the way; else None.

    ``obstacle`` says why an output of the stable revision cannot be computed, if one cannot.
    """
    if now.stable is None:
        return _first_state(now.coming[-1]) if now.coming else None
    if now.state == "unloaded":
        return GraphState(revision=now.stable, live=False, ready=False, reason="it is unloaded")
    app = apps.get(router_app(now.graph))
    if app is None or not (_running(app, ROUTER) > 0 or _is_asleep(app)):
        obstacle = _why(now.stable, app)
    return GraphState(revision=now.stable, live=True, ready=not obstacle, reason=obstacle)


def _first_state(number: int) -> GraphState:
    reason = f"revision {number} is being deployed"
    return GraphState(revision=number, live=False, ready=False, reason=reason)


def _why(stable: int, app: Mapping[str, Any] | None) -> str:
    """While a router is being rolled, the replicas of the old revision answer."""
    if app is None:
        return f"revision {stable} is being brought back"
    return serving.reason(app) or "no replica of its router runs"


def _running(app: Mapping[str, Any], deployment: str) -> int:
    return serving.replica_states(app.get("deployments", {}).get(deployment, {}))["running"]


def _is_asleep(router: Mapping[str, Any]) -> bool:
    """Whether a router that is well has no replica because nobody asks: a request will wake it."""
    found = router.get("deployments", {}).get(ROUTER, {})
    config = found.get("deployment_config", {}).get("autoscaling_config") or {}
    return config.get("min_replicas") == 0 and _status(router) == "RUNNING"


def _status(app: Mapping[str, Any]) -> str:
    status = app.get("status", "")
    return str(getattr(status, "value", status))
