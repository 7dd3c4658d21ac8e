"""A machine of an engine, and what waits for resources, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from anabranch.errors import Conflict, NotFound
from anabranch.serve.attachment import is_attached

MACHINE = "anabranch.io/machine"
"""Label with the id of what was started on a machine; a machine that joins again has another."""
INGRESS = "anabranch.io/ingress"
"""Label that says whether a machine takes requests of clients: "true" or "false"."""
OWN_LABELS = ("anabranch.io/", "ray.io/")
"""How the names of labels begin that users do not choose."""

IMPLICIT = "node:__internal_implicit_resource_"
"""How the names of resources begin by which Serve bounds a deployment's replicas on a machine."""

State: TypeAlias = Literal["alive", "draining", "drained", "lost", "left"]
"""``draining``: its replicas move away; ``drained``: they have, and it has ended; ``left``: it was
stopped in order; ``lost``: it ended otherwise, or is not heard any more."""
GONE: tuple[State, ...] = ("drained", "lost", "left")
TAKEN: tuple[State, ...] = ("draining", "drained", "left")
"""States of machines that are taken away, whatever ran on them."""


@dataclass(frozen=True)
class Node:
    """A machine. ``id`` is Ray's, in hex; ``since`` and ``until`` are Unix times in seconds.

    ``is_head`` tells that it has the engine's home, whichever node is the head of Ray.
    """

    id: str
    name: str
    address: str
    is_head: bool
    state: State
    since: float
    until: float | None = None
    total: Mapping[str, float] = field(default_factory=dict)
    available: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    """Unix time in seconds by which a machine that is drained will have gone, where that is known.
    """

    @property
    def machine(self) -> str:
        """The id of what was started on it; empty for a node that others have added to Ray."""
        return self.labels.get(MACHINE, "")

    @property
    def is_here(self) -> bool:
        """Return whether it is a part of the engine now."""
        return self.state not in GONE


def bound_to(node: Node) -> dict[str, float]:
    """Return as much of a machine's own resource in Ray as binds something to it."""
    is_ray_s_head = node.is_head and not is_attached()
    return {f"node:{'__internal_head__' if is_ray_s_head else node.address}": 0.001}


@dataclass(frozen=True)
class Demand:
    """So many processes wait for these resources, on a machine with these labels."""

    resources: Mapping[str, float]
    count: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterLook:
    """All machines that Ray knows of, and what it cannot place on any.

    With ``may_grow`` there may be more of them. Where the cluster ``is_autoscaled``, Ray adds them,
    and takes those back on which no process of anybody runs.
    """

    nodes: tuple[Node, ...]
    pending: tuple[Demand, ...] = ()
    may_grow: bool = False
    is_autoscaled: bool = False

    def shown(self) -> list[Node]:
        """The machines of the engine, its head first; of those that are gone, the lost ones.

        A lost machine that has joined again is no lost one.
        """
        here = {one.address for one in self.nodes if one.is_here}
        found = [
            one
            for one in self.nodes
            if one.is_here or (one.state == "lost" and one.address not in here)
        ]
        latest = {one.address: one for one in sorted(found, key=lambda one: one.since)}
        return sorted(
            (one for one in found if one.is_here or latest[one.address] is one),
            key=lambda one: (not one.is_head, one.name, one.id),
        )

    def of(self, named: str) -> Node:
        """The machine of a name, an address or an id, that of its last start too.

        NotFound names the machines that there are; Conflict where several have the name.
        """
        here = [one for one in self.shown() if one.is_here]
        found = [one for one in here if named in (one.id, one.machine)]
        found = found or [one for one in here if named in (one.name, one.address)]
        if len(found) > 1:
            ids = ", ".join(one.id for one in found)
            raise Conflict(f"several machines are {named!r}: name one of them by its id, {ids}")
        if not found:
            names = ", ".join(one.name for one in here) or "none"
            raise NotFound(f"no machine of the engine is {named!r}; there are: {names}")
        return found[0]
