"""Worker groups for plans: how large the pods must be for every replica to fit, and how many."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from anabranch.control.nodes.node import OWN_LABELS
from anabranch.errors import InvalidRequest
from anabranch.graph.plan.plan import Plan, Segment

_GIB = 2**30
PLAIN = "cpu"
"""Name of the group without GPUs."""
LEAST_CPU, LEAST_MEMORY = 2, 4 * _GIB
"""Smallest pod: CPUs, and bytes for replicas."""
_MOST_NAME = 30
"""Longest name of a group, in characters."""


@dataclass(frozen=True)
class _Need:
    """What one replica of a segment asks for, and the most replicas that there are.

    ``amounts`` are resources by Ray's names, ``labels`` those that its machine must have; with
    ``apart`` no two replicas share a machine.
    """

    amounts: Mapping[str, float]
    accelerator: str
    labels: Mapping[str, str]
    apart: bool
    replicas: int

    @property
    def custom(self) -> list[str]:
        return sorted(self.amounts.keys() - {"CPU", "GPU", "memory"})

    @property
    def place(self) -> tuple[str, ...]:
        """The words for the group of its pods; pods of one group are all alike."""
        kind = f"gpu-{self.accelerator}" if self.accelerator else "gpu"
        first = kind if "GPU" in self.amounts else PLAIN
        labels = (f"{key.rpartition('/')[2]}-{value}" for key, value in sorted(self.labels.items()))
        return first, *self.custom, *labels

    def size(self, name: str) -> float:
        return self.amounts.get(name, 0.0)


@dataclass(frozen=True)
class WorkerGroup:
    """Pods of one size. ``memory`` is in bytes; ``accelerator`` is Ray's name of a GPU, or "".

    ``custom`` are amounts of resources by names of the user's; ``labels`` are those of the pods'
    machines, and of the nodes of Kubernetes that they are for.
    """

    name: str
    cpu: int = LEAST_CPU
    gpu: int = 0
    memory: int = LEAST_MEMORY
    accelerator: str = ""
    replicas: int = 1
    custom: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def amounts(self) -> dict[str, int]:
        """What replicas may have of each pod, by Ray's names of resources."""
        return {"CPU": self.cpu, "GPU": self.gpu, "memory": self.memory, **self.custom}


def worker_groups(plans: Iterable[Plan], workers: int | None = None) -> list[WorkerGroup]:
    """Return the groups for the most replicas of all plans; ``workers`` counts the plain pods.

    There is always a plain group: segments that reserve nothing go there. Raise InvalidRequest for
    a segment that asks for a machine which no manifest can promise.
    """
    places: dict[tuple[str, ...], list[_Need]] = defaultdict(list, {(PLAIN,): []})
    for plan in plans:
        for part in plan.own_segments:
            need = _need(plan.name, part)
            places[need.place].append(need)
    groups: dict[str, WorkerGroup] = {}
    for place in sorted(places):
        name = _name(place, groups)
        groups[name] = _group(name, places[place])
    if workers is not None:
        groups[PLAIN] = replace(groups[PLAIN], replicas=workers)
    return list(groups.values())


def _need(graph: str, segment: Segment) -> _Need:
    asked, scaling, placement = segment.resources, segment.scaling, segment.placement
    if placement is not None and placement.node_affinity is not None:
        raise InvalidRequest(
            f"segment {segment.name!r} of graph {graph!r} asks for the machine"
            f" {placement.node_affinity!r} (`node_affinity`), and pods have no names beforehand:"
            " let it ask for `labels`"
        )
    wanted = {} if placement is None else placement.labels or {}
    labels = {key: text for key, given in wanted.items() if (text := _value(given))}
    for key in labels:
        if key.startswith(OWN_LABELS):
            raise InvalidRequest(
                f"segment {segment.name!r} of graph {graph!r} asks for machines with label {key!r},"
                " which no manifest gives: let it ask for a label of yours, or for a type of GPU"
                " by `resources.accelerator`"
            )
    most = 1 if scaling is None else scaling.max or scaling.replicas or 1
    apart = placement is not None and placement.spread == "node"
    if asked is None:
        return _Need({}, "", labels, apart, most)
    gpu = asked.gpu or (1.0 if asked.accelerator else None)
    own = {"CPU": asked.cpu, "GPU": gpu, "memory": asked.memory}
    amounts = {name: float(size) for name, size in {**own, **(asked.custom or {})}.items() if size}
    return _Need(amounts, asked.accelerator or "", labels, apart, most)


def _value(selector: str) -> str:
    """Return a value that a selector takes; empty for one that takes machines without the label."""
    if selector.startswith("!"):
        return ""
    return selector.removeprefix("in(").removesuffix(")").split(",")[0]


def _name(place: Iterable[str], taken: Collection[str]) -> str:
    words = "-".join(place).lower()
    found = re.sub("[^a-z0-9]+", "-", words)[:_MOST_NAME].strip("-")
    return next(
        name for at in range(1, len(taken) + 2)
        if (name := found if at == 1 else f"{found}-{at}") not in taken
    )  # fmt: skip


def _group(name: str, needs: list[_Need]) -> WorkerGroup:
    """Return pods in which the largest replica fits, as many as all replicas need together."""
    first = needs[0] if needs else _Need({}, "", {}, False, 1)
    group = WorkerGroup(
        name,
        max(LEAST_CPU, _largest(needs, "CPU")),
        _largest(needs, "GPU"),
        max(LEAST_MEMORY, math.ceil(_largest(needs, "memory") / _GIB) * _GIB),
        first.accelerator,
        custom={one: _largest(needs, one) for one in first.custom},
        labels=first.labels,
    )
    return replace(group, replicas=max(1, _pods(needs, group.amounts)))


def _largest(needs: Iterable[_Need], name: str) -> int:
    return max((math.ceil(one.size(name)) for one in needs), default=0)


def _pods(needs: Iterable[_Need], sizes: Mapping[str, float]) -> int:
    """Return the number of pods that hold all replicas, the largest ones first."""
    free: list[dict[str, float]] = []
    for need in sorted(needs, key=lambda one: [one.size(name) for name in sizes], reverse=True):
        start = 0
        for _ in range(need.replicas if need.amounts or need.apart else 0):
            at = next((at for at in range(start, len(free)) if _fits(need, free[at])), len(free))
            if at == len(free):
                free.append(dict(sizes))
            for name, size in need.amounts.items():
                free[at][name] -= size
            start = at + 1 if need.apart else at
    return len(free)


def _fits(need: _Need, pod: Mapping[str, float]) -> bool:
    return all(size <= pod[name] for name, size in need.amounts.items())
