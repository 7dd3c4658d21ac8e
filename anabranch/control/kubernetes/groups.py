"""Worker groups for plans: how large the pods must be for every replica to fit, and how many."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from anabranch.graph.plan.plan import Plan, Segment

_GIB = 2**30
PLAIN = "cpu"
"""Name of the group without GPUs."""
LEAST_CPU, LEAST_MEMORY = 2, 4 * _GIB
"""Smallest pod: CPUs, and bytes for replicas."""


class _Need(NamedTuple):
    """What one replica of a segment reserves, and the most replicas that there are."""

    cpu: float
    gpu: float
    memory: int
    accelerator: str
    replicas: int

    @property
    def group(self) -> str:
        if self.accelerator:
            return f"gpu-{self.accelerator.lower().replace('_', '-')}"
        return "gpu" if self.gpu else PLAIN


@dataclass(frozen=True)
class WorkerGroup:
    """Pods of one size. ``memory`` is in bytes; ``accelerator`` is Ray's name of a GPU, or ""."""

    name: str
    cpu: int = LEAST_CPU
    gpu: int = 0
    memory: int = LEAST_MEMORY
    accelerator: str = ""
    replicas: int = 1


def worker_groups(plans: Iterable[Plan], workers: int | None = None) -> list[WorkerGroup]:
    """Return the groups for the most replicas of all plans; ``workers`` counts the plain pods.

    There is always a plain group: segments that reserve nothing go there.
    """
    needs = [_need(part) for plan in plans for part in plan.segments]
    names = sorted({PLAIN, *(one.group for one in needs)})
    groups = [_group(name, [one for one in needs if one.group == name]) for name in names]
    if workers is None:
        return groups
    return [replace(one, replicas=workers) if one.name == PLAIN else one for one in groups]


def _need(segment: Segment) -> _Need:
    asked, scaling = segment.resources, segment.scaling
    most = 1 if scaling is None else scaling.max or scaling.replicas or 1
    if asked is None:
        return _Need(0.0, 0.0, 0, "", most)
    gpu = asked.gpu or (1.0 if asked.accelerator else 0.0)
    return _Need(asked.cpu or 0.0, gpu, int(asked.memory or 0), asked.accelerator or "", most)


def _group(name: str, needs: list[_Need]) -> WorkerGroup:
    """Return pods in which the largest replica fits, as many as all replicas need together."""
    cpu = max(LEAST_CPU, *(math.ceil(one.cpu) for one in needs), 0)
    gpu = max((math.ceil(one.gpu) for one in needs), default=0)
    memory = max(LEAST_MEMORY, *(_whole(one.memory) for one in needs), 0)
    accelerator = next((one.accelerator for one in needs if one.accelerator), "")
    sizes = (cpu, gpu, memory)
    return WorkerGroup(name, cpu, gpu, memory, accelerator, max(1, _pods(needs, sizes)))


def _pods(needs: list[_Need], sizes: tuple[int, int, int]) -> int:
    """Return the number of pods that hold all replicas, the largest ones first."""
    free: list[list[float]] = []
    for need in sorted(needs, reverse=True):
        for _ in range(need.replicas if any(need[:3]) else 0):
            wanted = (need.cpu, need.gpu, float(need.memory))
            pod = next((one for one in free if _fits(wanted, one)), None)
            if pod is None:
                free.append(pod := list(map(float, sizes)))
            pod[:] = [left - taken for left, taken in zip(pod, wanted, strict=True)]
    return len(free)


def _fits(wanted: Iterable[float], pod: list[float]) -> bool:
    return all(need <= left for need, left in zip(wanted, pod, strict=True))


def _whole(size: int) -> int:
    """Return a size rounded up to whole GiB."""
    return math.ceil(size / _GIB) * _GIB
