"""The endpoint ``/v2/models/<graph>[/versions/<N>]/document``: the body is the only input.

So clients of a service of JSON documents, such as an InferenceGraph of KServe, send what they sent,
and get what they got: an error of a called service has its status and its body, as in KServe's
router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from anabranch.components.documents.tensors import to_document
from anabranch.components.tensors.texts import as_raw
from anabranch.errors import DeadlineExceeded, InvalidRequest, StatusError, Unavailable
from anabranch.router.errors import HttpReply, UnencodableOutput, error_reply
from anabranch.router.http.doors.beside_outputs import revision_header
from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import Methods
from anabranch.router.http.openapi import json_content, operation, responses
from anabranch.router.http.request import HttpRequest
from anabranch.router.inference.contract import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    TensorMetadata,
)
from anabranch.router.oip.decode import DecodedBody
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName

DOCUMENT = "/document"
"""End of the path."""
_OTHER = (
    (b"content-type", b"application/octet-stream"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of an answer that is no JSON: a browser must not take it for a page."""


class DocumentDoor:
    """A document in, and a document out, of graphs with one input and one output of BYTES[1]."""

    protocol: ProtocolName = "document"
    paths: Mapping[str, Methods] = {}

    def __init__(self, calls: GraphCalls, feedback: Feedback | None = None) -> None:
        self._calls = calls
        self.words: Mapping[str, Methods] = {DOCUMENT: {"POST": ("call", self._ask)}}

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the path of ``document``."""
        content = json_content({})
        document = operation(
            "Document",
            "document",
            "Inference with a JSON document",
            responses("The document that the graph gives", content),
            content,
            description="The body is the only input, the answer the only output. If a service that "
            "the graph calls answers with an error, the reply has its status and its body.",
        )
        return {f"/v2/models/{metadata.name}/document": {"post": document}}

    async def _ask(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return await self._calls.infer(request, _decode, _encode, revision)


def document_error(error: Exception, request_id: str) -> HttpReply:
    """Return the reply to an error: the called service's own answer, if the error carries one."""
    reply = error_reply(error, request_id)
    if not isinstance(error, StatusError | Unavailable | DeadlineExceeded) or error.body is None:
        return reply
    headers = reply.headers if _is_json(error.body) else (*reply.headers, *_OTHER)
    return reply._replace(body=error.body, headers=headers)


def _decode(body: Buffer, metadata: ModelMetadata) -> DecodedBody:
    """Return the request of a body; InvalidRequest for a graph that takes or gives no document."""
    tensor = _only(metadata.inputs)
    if tensor is None or (metadata.outputs and _only(metadata.outputs) is None):
        raise InvalidRequest(
            f"graph {metadata.name!r} takes no document: that needs one input and one output of "
            "BYTES [1]"
        )
    inputs = {tensor.name: to_document(bytes(body))}
    return DecodedBody(InferenceRequest(inputs, endpoint="predict"))


def _only(tensors: Sequence[TensorMetadata]) -> TensorMetadata | None:
    """Return the only tensor, if it can be one document."""
    if len(tensors) != 1 or tensors[0].datatype != "BYTES":
        return None
    return tensors[0] if list(tensors[0].shape) in ([1], [-1]) else None


def _encode(response: InferenceResponse, metadata: ModelMetadata, asked: DecodedBody) -> HttpReply:
    arrays = [output.array for output in response.outputs]
    if len(arrays) != 1 or arrays[0].dtype.kind != "O" or arrays[0].size != 1:
        raise UnencodableOutput(f"graph {metadata.name!r} gave no single document")
    body = bytes(as_raw(arrays[0]).item(0))
    headers = revision_header(response)
    return HttpReply(200, body, headers if _is_json(body) else (*headers, *_OTHER))


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
