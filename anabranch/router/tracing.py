"""The spans of a router: of requests over either protocol, and of what is done with them there.

Names and attributes are those of OpenTelemetry's semantic conventions where they have some.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anabranch.router.inference.contract import InferenceRequest
from anabranch.specs.models import InferenceGraph
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, Kind
from anabranch.telemetry.trace_settings import TraceSettings
from anabranch.telemetry.tracing import SpanRecording

PARENT, STATE, RESPONSE = "traceparent", "tracestate", "traceresponse"
"""Headers, and gRPC's metadata: a trace as callers give it, and as they are told of it."""
GRAPH, REQUEST = "anabranch.graph", "anabranch.request.id"
"""Attributes of spans."""


def sampler_of(graph: InferenceGraph) -> Sampler:
    """Return which requests of a graph are traced, by its spec or else by the environment."""
    settings, telemetry = TraceSettings.from_env(), graph.spec.telemetry
    asked = None if telemetry is None else telemetry.trace
    return Sampler(settings.ratio if asked is None else asked.share, settings.exported)


@contextmanager
def below(
    request: InferenceRequest, name: str, kind: Kind = "internal", **attributes: Attribute
) -> Iterator[None]:
    """Record what is done with a request within, where it is traced."""
    parent = request.trace
    if parent is None:
        yield
        return
    named = {f"anabranch.{key}": value for key, value in attributes.items()}
    try:
        with SpanRecording(parent, name, named, kind) as recording:
            request.trace = recording.trace
            yield
    finally:
        request.trace = parent
