"""The latest traces that were asked to be shown, whole, in the controller's memory.

Which those are is in ``telemetry/trace.py``. A controller that starts anew has none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from anabranch.errors import NotFound
from anabranch.telemetry.span import Span

MOST_TRACES = 200
MOST_SPANS = 200
"""Spans of one trace that are kept; further ones are left out."""


class RecentTraces:
    """Spans by trace, from all processes of the engine, in whatever order they come."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, list[Span]] = OrderedDict()

    def take(self, spans: Sequence[Span]) -> None:
        """Take what a process has recorded."""
        for span in spans:
            found = self._traces.setdefault(span.place.trace_id, [])
            if len(found) < MOST_SPANS:
                found.append(span)
        while len(self._traces) > MOST_TRACES:
            self._traces.popitem(last=False)

    def view(self, trace_id: str) -> dict[str, Any]:
        """The spans of a trace that have come so far, by when they began; NotFound without any."""
        spans = self._traces.get(trace_id)
        if spans is None:
            raise NotFound(
                f"there is no trace {trace_id[:64]!r}: only the latest {MOST_TRACES} are kept, of "
                "requests whose tracestate has 'anabranch=show', and they come within a second"
            )
        ordered = sorted(spans, key=lambda span: span.start)
        return {"trace_id": trace_id, "spans": [span.view() for span in ordered]}
