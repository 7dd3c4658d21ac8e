"""The spans of requests over HTTP."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.router.http.request import HttpRequest
from anabranch.router.tracing import GRAPH, PARENT, REQUEST, STATE
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, SpanFailure
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import SpanRecording

_FAULT = 500


class HttpTraces:
    """Traces the requests of one graph over HTTP; ``route`` gives a path's template, if any."""

    def __init__(self, graph: str, sampler: Sampler, route: Callable[[str], str | None]) -> None:
        self._graph = graph
        self._sampler = sampler
        self._route = route

    def begin(self, request: HttpRequest) -> SpanRecording | None:
        """The span of a request, which is told of it; None for one that is not sampled."""
        if request.is_traced:
            headers = request.headers
            parent = self._sampler.continued(headers[PARENT], headers.get(STATE, ""))
        else:
            parent = self._sampler.drawn()
        return None if parent is None else self._recording(parent, request)

    def _recording(self, parent: Trace, request: HttpRequest) -> SpanRecording:
        route = self._route(request.path)
        attributes: dict[str, Attribute] = {
            "http.request.method": request.method,
            "url.path": request.path[:256],
            GRAPH: self._graph,
            REQUEST: request.id,
        }
        if route is not None:
            attributes["http.route"] = route
        name = request.method if route is None else f"{request.method} {route}"
        recording = SpanRecording(parent, name, attributes, "server")
        request.trace = recording.trace
        return recording


def answered_http(recording: SpanRecording, status: int) -> None:
    """Note how a request over HTTP was answered; 0 where its client has gone."""
    if status:
        recording.attributes["http.response.status_code"] = status
    if status >= _FAULT:
        recording.fail(SpanFailure(str(status)))
