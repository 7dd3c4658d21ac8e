"""Pass: warn of budgets that hold for more nodes than have one; and the sum of a plan's budgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from anabranch.errors import Problem
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.plan.plan import Plan, PlannedNode, Segment
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Scaling
from anabranch.specs.units import Size

BUDGETS = ("memory", "gpu_memory")
"""Fields of ``resources`` that are budgets in bytes."""


def check_budgets(draft: Draft) -> Draft:
    """Warn where nodes with a budget share a process with nodes that have none.

    The sum of the budgets is held for the process as a whole.
    """
    warnings = [
        found
        for segment in draft.segments
        for field in BUDGETS
        if (found := _shared(draft, segment, field)) is not None
    ]
    return replace(draft, warnings=(*draft.warnings, *warnings))


def _shared(draft: Draft, segment: Segment, field: str) -> Problem | None:
    budgets = {name: _budget(draft.nodes[name], field) for name in segment.nodes}
    asked = [name for name, size in budgets.items() if size is not None]
    others = [
        name for name, size in budgets.items() if size is None and _takes(draft.nodes[name], field)
    ]
    if not asked or not others:
        return None
    total = Size(sum(size for size in budgets.values() if size is not None))
    return Problem(
        node_path(asked[0], "resources", field),
        f"{total} is the most of the whole process, which {listing(asked)} "
        f"share{'' if len(asked) > 1 else 's'} with {listing(others)}: give "
        f"{'these' if len(others) > 1 else 'it'} `resources.{field}` too, or count "
        f"{'them' if len(others) > 1 else 'it'} in",
    )


def _budget(node: PlannedNode, field: str) -> Size | None:
    resources = node.spec.resources
    return None if resources is None else getattr(resources, field)


def _takes(node: PlannedNode, field: str) -> bool:
    """Return whether a node takes of what the budget is for: of GPUs only one that asks for one."""
    resources = node.spec.resources
    return field == "memory" or (resources is not None and bool(resources.gpu))


def reserved_bytes(plan: Plan, field: str) -> tuple[int, int] | None:
    """Return the bytes of a budget that all replicas of a graph have together, fewest and most.

    None where no segment has the budget. Segments without one count for nothing.
    """
    ranges = list(_ranges(plan, field))
    if not ranges:
        return None
    return sum(least for least, _ in ranges), sum(most for _, most in ranges)


def _ranges(plan: Plan, field: str) -> Iterator[tuple[int, int]]:
    for segment in plan.own_segments:
        size = None if segment.resources is None else getattr(segment.resources, field)
        if size is not None:
            least, most = _replicas(segment.scaling or Scaling())
            yield least * int(size), most * int(size)


def _replicas(scaling: Scaling) -> tuple[int, int]:
    fixed = scaling.replicas or 1
    if scaling.max is None:
        return fixed, fixed
    return 1 if scaling.min is None else scaling.min, scaling.max
