"""Counts and traces calls over gRPC."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from anabranch.errors import TooManyRequests
from anabranch.router.errors import ClientGone
from anabranch.router.grpc.calls import GrpcCall
from anabranch.router.grpc.codes import code_of
from anabranch.router.grpc.messages import SERVICE
from anabranch.router.measure.refusals import count_refusal
from anabranch.router.measure.requests import OTHER, Requests
from anabranch.router.observing import RequestObserver
from anabranch.router.tracing import GRAPH, PARENT, REQUEST, RESPONSE, STATE
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, SpanFailure
from anabranch.telemetry.tracing import SpanRecording

_ENDPOINTS = {
    "ModelInfer": "infer",
    "ModelStreamInfer": "generate_stream",
    "Predict": "predictions",
    "SendFeedback": "feedback",
}
"""How metrics name methods."""
_FAULTS = frozenset(
    (
        StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS,
    )
)  # fmt: skip
"""Status codes that are the server's fault; the others are the caller's."""


class GrpcObserver(RequestObserver[GrpcCall, Any]):
    """Observes the calls of one method of a service about one graph."""

    def __init__(
        self,
        requests: Requests,
        graph: str,
        sampler: Sampler,
        method: str,
        service: str = SERVICE,
    ) -> None:
        super().__init__(requests)
        self._graph = graph
        self._sampler = sampler
        self._method = method
        self._service = service
        self._endpoint = _ENDPOINTS.get(method, OTHER)

    def _begin(self, call: GrpcCall) -> SpanRecording | None:
        given, sampler = call.headers.get(PARENT), self._sampler
        state = call.headers.get(STATE, "")
        parent = sampler.drawn() if given is None else sampler.continued(given, state)
        call.trace = None
        if parent is None:
            return None
        attributes: dict[str, Attribute] = {
            "rpc.system": "grpc", "rpc.service": self._service, "rpc.method": self._method,
            GRAPH: self._graph, REQUEST: call.id,
        }  # fmt: skip
        recording = SpanRecording(parent, f"{self._service}/{self._method}", attributes, "server")
        call.trace = recording.trace
        call.trailer[RESPONSE] = recording.trace.traceparent
        return recording

    def _answered(
        self,
        call: GrpcCall,
        recording: SpanRecording | None,
        answer: Any,
        error: BaseException | None,
    ) -> tuple[str, str]:
        code = _code(error)
        if isinstance(error, TooManyRequests):  # messages that are too large have its code, too
            count_refusal("grpc", "limited")
        if recording is not None:
            recording.attributes["rpc.grpc.status_code"] = code.value[0]
            if code in _FAULTS:
                recording.fail(SpanFailure(code.name))
        return self._endpoint, code.name


def _code(error: BaseException | None) -> StatusCode:
    if error is None:
        return StatusCode.OK
    if isinstance(error, ClientGone) or not isinstance(error, Exception):
        return StatusCode.CANCELLED
    return code_of(error) or StatusCode.INTERNAL
