"""The spans of a router: of requests over either protocol, and of what is done with them there.

Names and attributes are those of OpenTelemetry's semantic conventions where they have some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grpc import StatusCode

from anabranch.router.core import InferenceRequest
from anabranch.router.request import HttpRequest
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, Failure, Kind
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import Recording

PARENT, STATE, RESPONSE = "traceparent", "tracestate", "traceresponse"
"""Headers, and gRPC's metadata: a trace as callers give it, and as they are told of it."""
_GRAPH, _REQUEST = "anabranch.graph", "anabranch.request.id"
_FAULT = 500
_FAULTS = frozenset(
    (
        StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS,
    )
)  # fmt: skip
"""What a server is to blame for; the rest is the caller's."""


class HttpTraces:
    """Traces the requests of one graph over HTTP; ``route`` gives a path's template, if any."""

    def __init__(self, graph: str, sampler: Sampler, route: Callable[[str], str | None]) -> None:
        self._graph = graph
        self._sampler = sampler
        self._route = route

    def begin(self, request: HttpRequest) -> Recording | None:
        """The span of a request, which is told of it; None for one that is not sampled."""
        if request.is_traced:
            headers = request.headers
            parent = self._sampler.continued(headers[PARENT], headers.get(STATE, ""))
        else:
            parent = self._sampler.drawn()
        return None if parent is None else self._recording(parent, request)

    def _recording(self, parent: Trace, request: HttpRequest) -> Recording:
        route = self._route(request.path)
        attributes: dict[str, Attribute] = {
            "http.request.method": request.method,
            "url.path": request.path[:256],
            _GRAPH: self._graph,
            _REQUEST: request.id,
        }
        if route is not None:
            attributes["http.route"] = route
        name = request.method if route is None else f"{request.method} {route}"
        recording = Recording(parent, name, attributes, "server")
        request.trace = recording.trace
        return recording


def answered_http(recording: Recording, status: int) -> None:
    """Note how a request over HTTP was answered; 0 where its client has gone."""
    if status:
        recording.attributes["http.response.status_code"] = status
    if status >= _FAULT:
        recording.fail(Failure(str(status)))


def of_call(
    sampler: Sampler, headers: dict[str, str], graph: str, service: str, method: str, id: str
) -> Recording | None:
    """The span of a call over gRPC; None for one that is not sampled."""
    given = headers.get(PARENT)
    parent = sampler.drawn() if given is None else sampler.continued(given, headers.get(STATE, ""))
    if parent is None:
        return None
    attributes: dict[str, Attribute] = {
        "rpc.system": "grpc", "rpc.service": service, "rpc.method": method,
        _GRAPH: graph, _REQUEST: id,
    }  # fmt: skip
    return Recording(parent, f"{service}/{method}", attributes, "server")


def answered_call(recording: Recording, code: StatusCode) -> None:
    """Note how a call over gRPC ended."""
    recording.attributes["rpc.grpc.status_code"] = code.value[0]
    if code in _FAULTS:
        recording.fail(Failure(code.name))


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
        with Recording(parent, name, named, kind) as recording:
            request.trace = recording.trace
            yield
    finally:
        request.trace = parent
