"""The spans of calls over gRPC."""

from __future__ import annotations

from grpc import StatusCode

from anabranch.router.tracing import GRAPH, PARENT, REQUEST, STATE
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Attribute, SpanFailure
from anabranch.telemetry.tracing import SpanRecording

_FAULTS = frozenset(
    (
        StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS,
    )
)  # fmt: skip
"""What a server is to blame for; the rest is the caller's."""


def of_call(
    sampler: Sampler, headers: dict[str, str], graph: str, service: str, method: str, id: str
) -> SpanRecording | None:
    """The span of a call over gRPC; None for one that is not sampled."""
    given = headers.get(PARENT)
    parent = sampler.drawn() if given is None else sampler.continued(given, headers.get(STATE, ""))
    if parent is None:
        return None
    attributes: dict[str, Attribute] = {
        "rpc.system": "grpc", "rpc.service": service, "rpc.method": method,
        GRAPH: graph, REQUEST: id,
    }  # fmt: skip
    return SpanRecording(parent, f"{service}/{method}", attributes, "server")


def answered_call(recording: SpanRecording, code: StatusCode) -> None:
    """Note how a call over gRPC ended."""
    recording.attributes["rpc.grpc.status_code"] = code.value[0]
    if code in _FAULTS:
        recording.fail(SpanFailure(code.name))
