"""What each machine of a cluster needs beside its replicas, and what is there too much; pure.

A machine that takes requests has an edge, a gateway and a front, and each has an agent that reads
its files. On the head's machine ``up`` starts the former, and the controller is the latter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from anabranch.control.nodes.node import INGRESS, Node
from anabranch.control.settings.ingress import Ingress
from anabranch.serve.replicas.edge import EDGE_ACTOR
from anabranch.serve.replicas.front import FRONT_APP
from anabranch.serve.replicas.gateway import GATEWAY_APP

AGENT = "anabranch-agent"
"""Name of the agents' actors, to which their machine's id is added."""
FACES = (GATEWAY_APP, FRONT_APP, EDGE_ACTOR)
"""What takes requests on a machine, in the order of its start."""
_KINDS = (AGENT, *FACES)
_ID = 12
"""Digits of a machine's id that tell it from all others."""

Names: TypeAlias = Mapping[str, tuple[str, Node]]
"""Kinds and machines by the names of what is to run."""


class Steps(NamedTuple):
    """What is to start, by kind and machine, and what is to stop, by name.

    ``close`` are edges that are to stop once nothing is under way there, with their machines.
    """

    start: list[tuple[str, Node]]
    stop: list[str]
    close: list[tuple[str, Node]]


def named(kind: str, node: Node) -> str:
    """Return the name of what is there once on each machine: ``kind`` itself on the head's."""
    return kind if node.is_head else f"{kind}.{node.id[:_ID]}"


def wanted(nodes: Iterable[Node], ingress: Ingress) -> Names:
    """Return all that is to run on machines, apart from the head's.

    One that is drained takes no more requests.
    """
    others = [one for one in nodes if one.is_here and not one.is_head]
    return {
        named(kind, node): (kind, node)
        for node in others
        for kind in (_KINDS if _takes(node, ingress) else (AGENT,))
    }


def steps(names: Names, running: Collection[str], present: Iterable[Node]) -> Steps:
    """Return what leads from what runs to what is to run on the machines that are there.

    Edges stop first, so that nobody sends anything to a gateway that goes; on a machine that is
    there, gateway and front stay until its edge has closed.
    """
    edges = {named(EDGE_ACTOR, one): one for one in present if not one.is_head}
    close = [(name, node) for name, node in edges.items() if name in {*running} - {*names}]
    kept = {named(kind, node) for _, node in close for kind in FACES}
    gone = [one for one in running if _kind(one) and one not in names and one not in kept]
    return Steps(
        [where for name, where in names.items() if name not in running],
        sorted(gone, key=lambda one: (_kind(one) != EDGE_ACTOR, one)),
        close,
    )


def _takes(node: Node, ingress: Ingress) -> bool:
    """Return whether a machine takes requests: as the engine and whoever made it join say."""
    is_willing = node.labels.get(INGRESS) != "false" and node.state == "alive"
    return is_willing and ingress.takes(node.labels)


def _kind(name: str) -> str:
    """Return the kind of what belongs to a machine other than the head's; empty for others."""
    return next((kind for kind in _KINDS if name.startswith(f"{kind}.")), "")
