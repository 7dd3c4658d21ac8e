"""JSON of the control API about machines: what each has, and what runs there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anabranch.control.nodes.ingress import named
from anabranch.control.nodes.node import IMPLICIT, OWN_LABELS, ClusterLook, Node
from anabranch.control.timestamps import timestamp
from anabranch.router.table import Part, parse_app
from anabranch.serve.replicas.gateway import GATEWAY_APP

_INTERNAL = "node:"
"""How the names of resources begin by which Ray ties something to a machine."""


class Share(NamedTuple):
    """A segment of a revision, or a graph's routers, as far as it is on one machine."""

    graph: str
    revision: int | None
    """None for routers, which change theirs."""
    part: Part
    deployment: str


def nodes_view(look: ClusterLook, apps: Mapping[str, Any]) -> dict[str, Any]:
    """Machines, and what waits for a place: ``{"nodes", "pending", "waiting"}``."""
    places = placed(apps)
    # What takes requests on a machine that is drained has no other place, and wants none.
    bound = {f"{_INTERNAL}{one.address}" for one in look.nodes if one.state == "draining"}
    return {
        "nodes": [_node(one, places, apps) for one in look.shown()],
        "pending": [
            {"resources": _asked(one.resources), "labels": dict(one.labels), "count": one.count}
            for one in look.pending
            if not bound & one.resources.keys()
        ],
        "waiting": _segments(places.get("", Counter())),
    }


def _asked(resources: Mapping[str, float]) -> dict[str, float]:
    """Return what a replica asks for, but for Serve's bound on replicas of a machine."""
    return {name: size for name, size in resources.items() if not name.startswith(IMPLICIT)}


def node_view(node: Node, apps: Mapping[str, Any]) -> dict[str, Any]:
    """A machine: resources with what is used of each, labels of its user, segments.

    ``ingress`` says whether it takes requests, or those that it has taken are under way there.
    """
    return _node(node, placed(apps), apps)


def _node(
    node: Node, places: Mapping[str, Counter[Share]], apps: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": node.name,
        "id": node.id,
        "machine": node.machine,
        "address": node.address,
        "head": node.is_head,
        "state": node.state,
        "since": timestamp(node.since if node.until is None else node.until),
        "resources": {
            name: {"total": size, "used": _used(node, name, size)}
            for name, size in sorted(node.total.items())
            if not name.startswith(_INTERNAL)
        },
        "labels": {
            name: value
            for name, value in sorted(node.labels.items())
            if not name.startswith(OWN_LABELS)
        },
        "segments": _segments(places.get(node.id, Counter())),
        "ingress": node.is_here and named(GATEWAY_APP, node) in apps,
    }


def placed(apps: Mapping[str, Any]) -> dict[str, Counter[Share]]:
    """How many replicas of what are on each machine, by its id; by "" those without a place."""
    found: dict[str, Counter[Share]] = {}
    for share, node in _replicas(apps):
        found.setdefault(node, Counter())[share] += 1
    return found


def _replicas(apps: Mapping[str, Any]) -> Iterator[tuple[Share, str]]:
    for name, app in apps.items():
        parsed = parse_app(name)
        if parsed is None:
            continue
        graph, part, revision = parsed
        for deployment, details in app.get("deployments", {}).items():
            for one in details.get("replicas", ()):
                yield Share(graph, revision, part, deployment), one.get("node_id") or ""


def _segments(found: Counter[Share]) -> list[dict[str, Any]]:
    ordered = sorted(found.items(), key=lambda one: (one[0].graph, one[0].revision or 0, one[0]))
    return [{**share._asdict(), "replicas": count} for share, count in ordered]


def _used(node: Node, name: str, total: float) -> float | None:
    """Of a machine that is gone nothing is known."""
    return round(total - node.available.get(name, 0.0), 4) if node.is_here else None
