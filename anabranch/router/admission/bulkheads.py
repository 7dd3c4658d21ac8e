"""Bulkheads: what waits for one segment leaves room for requests that do not need it.

The places of a router are shared by dynamic thresholds, as the memory of a switch by its ports
(Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998): the calls that wait for a
segment may take a multiple of the places that are free, so of whatever number of segments hangs,
free places are left. And as many may wait for each in any case as leave a quarter of the places
though all segments hang, but for the last place: a segment that is well is not shut out by other
requests.

An overload of a segment is measured apart, too, so that it refuses no request that does not need
the segment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from anabranch.components.contract import Context
from anabranch.errors import Unavailable
from anabranch.graph.batch.batching import level
from anabranch.router.admission.admission import (
    PLACE,
    Admission,
    Overload,
    count_end,
    whole_seconds,
)
from anabranch.router.admission.backlog import Backlog
from anabranch.router.admission.ceiling import FEWEST

OF_FREE = 3
"""Calls that may wait for one segment, for each place of the router that is free."""
SHARE = 0.75
"""Share of a router's places that all segments together may have in any case."""


class Bulkhead:
    """Bounds the calls under way to one segment.

    ``share``: so many may wait whatever places are free. ``fewest``: so many are let in even under
    overload of the segment. ``clock`` gives monotonic seconds.
    """

    __slots__ = ("_clock", "_gate", "_segment", "_share", "backlog", "inside")

    def __init__(
        self,
        segment: str,
        gate: Admission,
        share: int,
        fewest: int = FEWEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._segment = segment
        self._gate = gate
        self._share = share
        self._clock = clock
        self.backlog = Backlog(gate.limit, fewest)
        self.inside = 0
        """How many calls are under way."""

    def place(self, parameters: Mapping[str, Any], seconds: float | None) -> CallPlace:
        """Return the place of a call, to hold while it is under way.

        Its request has these ``parameters`` and ``seconds`` left. Raises Unavailable where the call
        would leave too few places for others, or could only wait.
        """
        now, backlog = self._clock(), self.backlog
        backlog.offered(now)
        free = self._gate.free
        if not free or (self.inside >= self._share and self.inside >= OF_FREE * free):
            raise Unavailable(
                f"{self.inside} requests wait for segment {self._segment!r}, and the other places "
                "are kept for requests that do not need it; try again later"
            )
        ceiling = backlog.ceiling
        if ceiling is not None and backlog.inside >= backlog.limit(level(parameters)):
            raise Overload(
                f"segment {self._segment!r} gets more requests than it can answer, which are "
                f"{ceiling.rate:.3g} a second: {backlog.inside} are in progress; try again later",
                whole_seconds(backlog.inside / ceiling.rate),
            )
        if seconds is not None and (expected := backlog.expected(now)) > seconds:
            raise Overload(
                f"segment {self._segment!r} cannot answer within {seconds:.3g}s, the time that is "
                f"left: {backlog.inside} requests are before this one, and all will take "
                f"{expected:.3g}s; try again later, or allow more time",
                whole_seconds(expected),
            )
        outer = PLACE.get(None)
        if outer is not None:
            outer.exempt()
        return CallPlace(self, now)


class CallPlace:
    """The place of one call in a bulkhead, until the end of a ``with``."""

    __slots__ = ("_began", "_bulkhead", "_rank")

    def __init__(self, bulkhead: Bulkhead, began: float) -> None:
        self._bulkhead = bulkhead
        self._began = began
        self._rank = bulkhead.backlog.began(began)
        bulkhead.inside += 1

    def __enter__(self) -> None:
        """Do nothing: the place is held already."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        bulkhead = self._bulkhead
        bulkhead.inside -= 1
        count_end(bulkhead.backlog, bulkhead._clock(), self._began, self._rank, kind)


def place_in(bulkhead: Bulkhead | None, context: Context) -> AbstractContextManager[None]:
    """Return the place of a call, if there is a bulkhead at all; Unavailable where it is full."""
    if bulkhead is None:
        return nullcontext()
    return bulkhead.place(context.parameters, context.remaining())


def bulkheads(
    fewest: Mapping[str, int], gate: Admission, clock: Callable[[], float] = time.monotonic
) -> dict[str, Bulkhead]:
    """Return bulkheads of the segments of a graph that not all its requests need.

    ``fewest`` has these segments, and how many calls each must get under any overload.
    """
    gate.is_shared = bool(fewest)
    share = int(SHARE * gate.limit) // max(1, len(fewest))
    return {
        name: Bulkhead(name, gate, max(1, share), least, clock) for name, least in fewest.items()
    }
