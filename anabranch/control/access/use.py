"""Use of a machine's resources by graphs, as quotas count it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from anabranch.control.lifecycle.operations import COMING, UP, Situation
from anabranch.graph.plan.plan import Plan, Segment
from anabranch.specs.models import Resources, Scaling

RESOURCES = ("graphs", "replicas", "cpu", "gpu", "memory")
"""``cpu`` and ``gpu`` are numbers as in ``resources`` of a node, ``memory`` is in bytes."""
Use: TypeAlias = Mapping[str, float]
"""Amounts by resource; what is missing is 0."""
_DIGITS = 6
"""Digits behind the point that count: sums of floats have errors further behind."""


def use_of(plan: Plan) -> Use:
    """Return the most that a revision takes: each segment with all replicas that its scaling
    allows, and a replica for monitors, which reserves nothing.
    """
    return sum_of({"replicas": 1 if plan.monitors else 0}, *map(_segment, plan.own_segments))


def use_in(now: Situation, plan: Callable[[int], Plan | None]) -> Use:
    """Return what a graph takes: all of its revisions that are up or on their way.

    One that is unloaded is still a graph, and takes nothing else. ``plan`` gives the plan of a
    revision, None where there is none.
    """
    running = [number for number, one in now.members.items() if one.state in UP | COMING]
    if now.state == "unloaded":
        return {"graphs": 1}
    if now.state != "present" or not running:
        return {}
    return sum_of({"graphs": 1}, *(use_of(one) for number in running if (one := plan(number))))


def sum_of(*uses: Use) -> Use:
    """Return the sum by resource."""
    return {name: round(sum(use.get(name, 0) for use in uses), _DIGITS) for name in RESOURCES}


def _segment(segment: Segment) -> Use:
    scaling, wanted = segment.scaling or Scaling(), segment.resources or Resources()
    most = scaling.max or scaling.replicas or 1
    return {
        "replicas": most,
        "cpu": most * (wanted.cpu or 0),
        "gpu": most * (wanted.gpu or 0),
        "memory": most * int(wanted.memory or 0),
    }
