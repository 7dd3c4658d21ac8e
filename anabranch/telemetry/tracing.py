"""Recording spans, and where they go: to a collector, and what is to be shown to the engine.

A span is recorded only for a request that carries a ``Trace``; where there is none, nothing is to
be called here.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Self, TypeVar

from anabranch.telemetry.otlp import HOST, OtlpDelivery
from anabranch.telemetry.outlet import Deliver, Outlet
from anabranch.telemetry.span import Attribute, Kind, Span, SpanFailure
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.trace_settings import TraceSettings

Item = TypeVar("Item")

MOST = 8192
"""Spans that may wait in a process; half a second of them in a router that traces all it can."""
PAUSE_S = 1.0
"""Time in which spans gather: a call of the exporter takes milliseconds, however few they are."""
MOST_SHOWN = 2048
"""Spans to be shown that may wait in a process."""
_SIZE = 1024
"""Bytes of a span, about."""


class Traces:
    """The exits for the spans of a process; both are made with the first span."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._exported: Outlet[Span] | None = None
        self._shown: Outlet[Span] | None = None
        self._tell: Deliver[Span] | None = None

    def show(self, tell: Deliver[Span]) -> None:
        """Have spans that are to be shown delivered so from now on."""
        self._tell = tell

    def prepare(self) -> None:
        """Import what exporting takes, where spans are exported, while nothing waits for it."""
        if self._settings.exported:
            self._delivery.prepare()

    def take(self, span: Span) -> None:
        """Take a span that has ended; never waits, never fails."""
        if self._settings.exported:
            (self._exported or self._open_exported()).offer(span, _SIZE)
        if self._tell is not None and span.place.is_shown:
            (self._shown or self._open_shown(self._tell)).offer(_with_host(span), _SIZE)

    def close(self) -> None:
        """Deliver what waits, for a few seconds at most; the process ends."""
        for outlet in (self._exported, self._shown):
            if outlet is not None:
                outlet.close()

    @cached_property
    def _settings(self) -> TraceSettings:
        return TraceSettings.from_env(self._env)

    @cached_property
    def _delivery(self) -> OtlpDelivery:
        return OtlpDelivery(self._settings, self._env)

    def _open_exported(self) -> Outlet[Span]:
        with self._lock:
            if self._exported is None:
                self._exported = Outlet(self._graph, "traces", self._delivery, MOST, pause=PAUSE_S)
            return self._exported

    def _open_shown(self, tell: Deliver[Span]) -> Outlet[Span]:
        with self._lock:
            if self._shown is None:
                self._shown = Outlet(self._graph, "traces-shown", tell, MOST_SHOWN)
            return self._shown

    @property
    def _graph(self) -> str:
        return self._env.get("ANABRANCH_GRAPH", "")


def _with_host(span: Span) -> Span:
    """Return a span that says where it was recorded, as the resource of an exported one does."""
    return replace(span, attributes={**span.attributes, HOST: socket.gethostname()})


TRACES = Traces()
"""Where the spans of this process go."""


class SpanRecording:
    """A span under way: a context manager, which records it at its end.

    ``trace`` is the place of the span itself: what is done within is recorded below that.
    """

    __slots__ = ("_clock", "_failure", "_kind", "_links", "_name", "_parent", "_start",
                 "attributes", "trace")  # fmt: skip

    def __init__(
        self,
        parent: Trace,
        name: str,
        attributes: dict[str, Attribute],
        kind: Kind = "internal",
        links: Iterable[Trace] = (),
    ) -> None:
        self.trace = parent.child()
        self.attributes = attributes
        """More may be added until the end."""
        self._parent = parent
        self._name = name
        self._kind: Kind = kind
        self._links = tuple(links)
        self._failure: SpanFailure | None = None
        self._start, self._clock = time.time_ns(), time.perf_counter_ns()

    def link(self, other: Trace) -> None:
        """Point to a span that has to do with this one."""
        self._links += (other,)

    def waited(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Record that the work has waited for its turn, from the start until now."""
        self._take(self.trace.child(), self.trace.span_id, name, "internal", attributes)

    def fail(self, failure: SpanFailure) -> None:
        """Note that the work has failed, though nothing is raised."""
        self._failure = failure

    def end(self) -> None:
        """Record the span; once."""
        self._take(
            self.trace, self._parent.span_id, self._name, self._kind,
            self.attributes, self._failure, self._links,
        )  # fmt: skip

    def _take(
        self,
        place: Trace,
        parent_id: str,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        failure: SpanFailure | None = None,
        links: tuple[Trace, ...] = (),
    ) -> None:
        """Hand over a span from the start until now."""
        end = self._start + time.perf_counter_ns() - self._clock
        span = Span(place, parent_id, name, kind, self._start, end, attributes, failure, links)
        TRACES.take(span)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            self.fail(SpanFailure.of(error))
        self.end()
