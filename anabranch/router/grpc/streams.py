"""The messages that ModelStreamInfer answers with.

As with Triton, an error of one request is told in its answer and the stream goes on; the parameter
``triton_final_response`` says which answer is the last of its request. Where a graph finds out that
it has no more only after its last answer, that takes a further one without tensors, which those get
who ask for it by the request's parameter ``triton_enable_empty_final_response``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from anabranch.errors import RequestError
from anabranch.router.grpc import wire
from anabranch.router.grpc.codec import DecodedMessage, mark_final
from anabranch.router.grpc.codes import status_of
from anabranch.router.grpc.messages import InferRequest, InferResponse, StreamResponse
from anabranch.router.oip.raw_tensors import Buffer

_WANTS_EMPTY_FINAL = "triton_enable_empty_final_response"
_RESPONSE = StreamResponse.DESCRIPTOR.fields_by_name["infer_response"].number


def part(pieces: list[Buffer]) -> bytes:
    """Return an encoded ModelInferResponse as an answer of a stream."""
    size = sum(map(len, pieces))
    return b"".join((wire.head(_RESPONSE, size), *pieces))


def wants_last(decoded: DecodedMessage) -> bool:
    """Return whether a client asks for an answer that says no more than that it is the last."""
    return decoded.request.parameters.get(_WANTS_EMPTY_FINAL) is True


def last(decoded: DecodedMessage) -> bytes:
    """Return that answer."""
    response = _of(decoded.model, decoded.version, decoded.request.id or "")
    mark_final(response, True)
    return _serialized(StreamResponse(infer_response=response))


def failed(error: Exception, request_id: str, message: Buffer) -> bytes:
    """Return the answer to a request that failed; its id is given back if it can be read."""
    response = _of(*(_text(message, field) for field in ("model_name", "model_version", "id")))
    mark_final(response, True)
    details = status_of(error, request_id).details
    return _serialized(StreamResponse(error_message=details, infer_response=response))


def _text(message: Buffer, field: str) -> str:
    with suppress(RequestError):
        return wire.text(message, InferRequest.DESCRIPTOR.fields_by_name[field].number)
    return ""


def _of(name: str, version: str, id: str) -> Any:
    return InferResponse(model_name=name[:256], model_version=version[:64], id=id[:1024])


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
