"""Values of nodes for the request log, taken once a request's outputs are there.

They go into the annotations of the request, and with these to the process that logs it. Only
requests that are logged have a place for them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from anabranch.components.tensors.arrays import Array
from anabranch.graph.calls.values import UNSET, Convert, accessor
from anabranch.graph.observe.monitor_copies import made
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.vertices import Vertices, is_here, vertex_of


class ValueRecorder:
    """The vertices of one process whose values are logged."""

    def __init__(self, plan: Plan, vertices: Vertices, here: Collection[str]) -> None:
        self._points: list[tuple[str, int, Convert, str]] = []
        """Of each: the node, its slot, its output, and the name in the log."""
        self.seen: dict[str, int] = {}
        """The vertices that are looked at, and their slots."""
        for name, ref in plan.recorded.items():
            if is_here(plan, ref, here, vertices.orchestrates):
                node, slot = plan.nodes[str(ref.node)], vertices.slots[vertex_of(ref)]
                self._points.append((node.name, slot, accessor(node, ref), name))
                self.seen[vertex_of(ref)] = slot

    def __bool__(self) -> bool:
        return bool(self._points)

    def take(self, frame: list[Any], given: Collection[str], values: dict[str, Array]) -> None:
        """Add the values that are there; those that were ``given`` are recorded elsewhere."""
        for node, slot, access, name in self._points:
            value = frame[slot]
            if value is UNSET or node in given:
                continue
            array = made(value, access)
            if array is not None:
                values[name] = array
