"""Copies of watched values for monitors, made once a request's outputs are there.

Where nothing in a process is watched, this costs a request one comparison. What failed is not
looked at, and neither is what no client has asked.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np

from anabranch.components.contract import Context
from anabranch.components.tensors.memory import size_of
from anabranch.graph.calls.values import UNSET, Convert, Skipped, accessor, identity
from anabranch.graph.plan.plan import Plan, PlannedMonitor, Ref
from anabranch.graph.plan.vertices import Vertices, is_here, vertex_of

Array = np.ndarray[Any, Any]

MOST, MOST_BYTES = 4096, 4 * 2**20
"""Values that may wait in a process, and their bytes."""
_OVERHEAD = 256
"""Bytes of an item beside its array."""

logger = logging.getLogger("anabranch.monitors")


class Seen(NamedTuple):
    """A value of a watched tensor."""

    source: str
    """The source that is watched, as the spec names it."""
    request: str
    """The id of the request that it belongs to."""
    array: Array


Offer: TypeAlias = Callable[[Seen, int], object]
"""``Outlet.offer``: takes a value of so many bytes; neither waits nor fails."""


def is_sampled(request: str, share: float) -> bool:
    """Whether a request is in a sample: the same in all processes, and in larger samples too."""
    return share >= 1 or crc32(request.encode()) < share * 2**32


def share_of(monitor: PlannedMonitor) -> float:
    """Share of the requests that a monitor looks at, 0 to 1."""
    return 1.0 if monitor.spec.sample is None else monitor.spec.sample.share


class Observer:
    """The watched vertices of one process."""

    def __init__(self, plan: Plan, vertices: Vertices, here: Collection[str], offer: Offer) -> None:
        self._offer = offer
        self._points: list[tuple[str, int, Convert, str, float]] = []
        """Of each: the node, its slot, and what is watched of it; no name for a graph input."""
        for source, (ref, share) in _watched(plan).items():
            if is_here(plan, ref, here, vertices.orchestrates):
                access = identity if ref.node is None else accessor(plan.nodes[ref.node], ref)
                slot = vertices.slots[vertex_of(ref)]
                self._points.append((ref.node or "", slot, access, source, share))

    def __bool__(self) -> bool:
        return bool(self._points)

    @property
    def seen(self) -> dict[str, int]:
        """The nodes that are watched here, and their slots."""
        return {node: slot for node, slot, *_ in self._points if node}

    def see(self, frame: list[Any], given: Collection[str], context: Context) -> None:
        """Look at the frame of a request whose outputs are there; never raises.

        Nodes whose values were ``given`` were seen where these were made.
        """
        if not context.is_traffic:
            return
        try:
            for node, slot, access, source, share in self._points:
                value = frame[slot]
                if value is UNSET or node in given:
                    continue
                if is_sampled(context.id, share):
                    self._take(source, context.id, value, access)
        except Exception:
            logger.exception("a value was not observed")

    def _take(self, source: str, request: str, value: Any, access: Convert) -> None:
        array = made(value, access)
        if array is not None:
            # A copy: whoever reads the value may change it, and a view may hold a whole request.
            self._offer(Seen(source, request, array.copy()), item_size(array))


def made(value: Any, access: Convert) -> Array | None:
    """Return the tensor of a value in a frame; None where it has failed or was left out."""
    if isinstance(value, Future):
        if not value.done() or value.cancelled() or value.exception() is not None:
            return None
        value = value.result()
    array = value if isinstance(value, Skipped) else access(value)
    return None if isinstance(array, Skipped) else array


def item_size(array: Array) -> int:
    """About how many bytes an observed value takes."""
    return size_of(array) + _OVERHEAD


def _watched(plan: Plan) -> Mapping[str, tuple[Ref, float]]:
    """Every watched source, with the largest share of the requests that a monitor looks at."""
    found: dict[str, tuple[Ref, float]] = {}
    for monitor in plan.monitors.values():
        for source, ref in monitor.watches.items():
            most = max(share_of(monitor), found.get(source, (ref, 0.0))[1])
            found[source] = ref, most
    return found
