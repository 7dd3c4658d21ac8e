"""The endpoint ``/v2/models/<graph>[/versions/<N>]/predict``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from anabranch.router.errors import HttpReply
from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import Methods
from anabranch.router.http.doors.form_body import is_form, read_form
from anabranch.router.http.doors.plain_json.answers import encode_plain
from anabranch.router.http.doors.plain_json.form_requests import decode_form
from anabranch.router.http.doors.plain_json.json_requests import PlainRequest, decode_json
from anabranch.router.http.doors.plain_json.openapi import paths_of
from anabranch.router.http.request import HttpRequest
from anabranch.router.inference.contract import InferenceResponse, ModelMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName


class PlainJsonDoor:
    """Named values in JSON or in a form, and named values back."""

    protocol: ProtocolName = "json"
    paths: Mapping[str, Methods] = {}

    def __init__(self, calls: GraphCalls, feedback: Feedback | None = None) -> None:
        self._calls = calls
        self.words: Mapping[str, Methods] = {"/predict": {"POST": ("call", self._predict)}}

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the path of ``predict``, with examples of requests."""
        return paths_of(metadata)

    async def _predict(self, revision: str | None, request: HttpRequest) -> HttpReply:
        content_type = request.headers.get("content-type", "")
        decode = partial(_decode, content_type, self._calls.arms.limits)
        return await self._calls.infer(request, decode, _encode, revision)


def _decode(
    content_type: str, limits: RequestLimits, body: Buffer, metadata: ModelMetadata
) -> PlainRequest:
    if is_form(content_type, body):
        return decode_form(read_form(bytes(body), content_type), metadata, limits)
    return decode_json(body, metadata, limits)


def _encode(response: InferenceResponse, metadata: ModelMetadata, asked: PlainRequest) -> HttpReply:
    return encode_plain(response, asked.form, asked.rows)
