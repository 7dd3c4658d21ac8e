"""Spans on their way to an OpenTelemetry collector, by the SDK's own exporters.

Connections are made in the thread of an outlet, since replicas are forks of a process that may have
none.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from anabranch.telemetry.span import Span
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.trace_settings import SERVICE, TraceSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

HOST = "host.name"
"""Attribute with the name of the machine on which a span was recorded."""
SCOPE = "anabranch"
"""Name of the instrumentation scope."""


class NotExported(Exception):
    """The collector did not take a batch."""


class OtlpDelivery:
    """Delivers spans; call it from one thread."""

    def __init__(self, settings: TraceSettings, env: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._env = env
        self._resource: Resource | None = None
        self._exporter: SpanExporter | None = None

    def prepare(self) -> None:
        """Import what it takes, before requests have to share the interpreter with that."""
        import opentelemetry.sdk.trace  # noqa: F401

        exporter_class(self._settings.protocol)
        self._resource = resource_of(self._env)

    def __call__(self, spans: Sequence[Span]) -> None:
        """Deliver a batch. Raises NotExported, after the exporter has tried for ten seconds or so.

        OTEL_EXPORTER_OTLP_TIMEOUT says for how long.
        """
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._resource is None:
            self.prepare()
        if self._exporter is None:
            # The outlet tells once what each attempt would tell.
            logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
            self._exporter = exporter_class(self._settings.protocol)()
        made = [readable(span, self._resource) for span in spans]
        if self._exporter.export(made) is not SpanExportResult.SUCCESS:
            raise NotExported(f"{self._settings.endpoint} did not take {len(spans)} spans")


def exporter_class(protocol: str) -> Callable[[], SpanExporter]:
    """Return the class of a protocol's exporter, which reads the rest in the environment."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter


def resource_of(env: Mapping[str, str]) -> Resource:
    """Return the attributes that the spans of this process have in common."""
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": env.get(SERVICE) or "anabranch",
            "service.version": version("anabranch"),
            "process.pid": os.getpid(),
            HOST: socket.gethostname(),
        }
    )


def readable(span: Span, resource: Resource | None) -> ReadableSpan:
    """Return a span as the SDK's exporters take it."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

    failed = span.failure
    attributes: dict[str, Any] = dict(span.attributes)
    status, events = Status(StatusCode.UNSET), []
    if failed is not None:
        attributes["error.type"] = failed.kind
        status = Status(StatusCode.ERROR, failed.text or failed.kind)
        told = {"exception.type": failed.kind, "exception.message": failed.text}
        events = [Event("exception", told, timestamp=span.end)] if failed.text else []
    parent = Trace(span.place.trace_id, span.parent_id, span.place.state)
    return ReadableSpan(
        name=span.name,
        context=_context(span.place),
        parent=_context(parent) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        events=events,
        links=[Link(_context(link)) for link in span.links],
        kind=SpanKind[span.kind.upper()],
        status=status,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope(SCOPE),
    )


def _context(place: Trace) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    return SpanContext(
        int(place.trace_id, 16),
        int(place.span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([place.state]) if place.state else None,
    )
