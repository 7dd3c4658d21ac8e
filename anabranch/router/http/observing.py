"""Counts and traces requests over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from anabranch.router.http.request import HttpRequest
from anabranch.router.measure.requests import ENDPOINTS, GONE, OTHER, Requests
from anabranch.router.observing import RequestObserver
from anabranch.router.tracing import GRAPH, PARENT, REQUEST, STATE
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, SpanFailure
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import SpanRecording

MAX_PATHS = 32
"""Paths whose endpoints are kept: most requests have the same ones."""
_LAST_WORD = re.compile("[/:]")
"""What stands before the last word of a path: ``/infer``, and ``:predict`` of other protocols."""
_TRACE = PARENT.encode()
_FAULTS = range(500, 600)
"""Statuses for which a server is to blame."""


class HttpObserver(RequestObserver[HttpRequest, int]):
    """Observes the requests of one graph over HTTP; ``route`` gives a path's template, if any.

    Their work returns the status of the reply, 0 where the client has gone.
    """

    def __init__(self, graph: str, sampler: Sampler, route: Callable[[str], str | None]) -> None:
        super().__init__(Requests(graph, "http"))
        self._graph = graph
        self._sampler = sampler
        self._route = route
        self._endpoint = lru_cache(MAX_PATHS)(self._endpoint_of)

    def _begin(self, request: HttpRequest) -> SpanRecording | None:
        if _TRACE in request.head.last:
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

    def _answered(
        self,
        request: HttpRequest,
        recording: SpanRecording | None,
        answer: int | None,
        error: BaseException | None,
    ) -> tuple[str, int]:
        if recording is not None:
            if answer:
                recording.attributes["http.response.status_code"] = answer
            if answer in _FAULTS:
                recording.fail(SpanFailure(str(answer)))
            if error is not None:
                recording.fail(SpanFailure.of(error))
        return self._endpoint(request.path), answer or GONE

    def _endpoint_of(self, path: str) -> str:
        name = _LAST_WORD.split(self._route(path) or "")[-1]
        return name if name in ENDPOINTS else OTHER
