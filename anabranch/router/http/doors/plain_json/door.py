"""The endpoint ``/v2/models/<graph>[/versions/<N>]/predict``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.router.core import InferenceRequest, InferenceResponse, ModelMetadata
from anabranch.router.errors import HttpReply
from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import Methods
from anabranch.router.http.doors.form_body import MULTIPART, URLENCODED, media_type, read_form
from anabranch.router.http.doors.plain_json.answers import encode_plain
from anabranch.router.http.doors.plain_json.form_requests import decode_form
from anabranch.router.http.doors.plain_json.json_requests import (
    PlainForm,
    PlainRequest,
    decode_json,
)
from anabranch.router.http.doors.plain_json.openapi import paths_of
from anabranch.router.http.request import HttpRequest
from anabranch.router.limits import RequestLimits
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
        call = _PlainCall(content_type, self._calls.arms.limits)
        return await self._calls.infer(request, call.decode, call.encode, revision)


class _PlainCall:
    """One call: its answer comes in the form of its request."""

    def __init__(self, content_type: str, limits: RequestLimits) -> None:
        self._content_type = content_type
        self._limits = limits
        self._form: PlainForm = "values"
        self._rows = 0

    def decode(self, body: bytes, metadata: ModelMetadata) -> InferenceRequest:
        decoded = self._decoded(body, metadata)
        self._form, self._rows = decoded.form, decoded.rows
        return decoded.request

    def encode(self, response: InferenceResponse, metadata: ModelMetadata) -> HttpReply:
        return encode_plain(response, self._form, self._rows)

    def _decoded(self, body: bytes, metadata: ModelMetadata) -> PlainRequest:
        """Decode a body; one that begins as JSON does is no form, whatever it is called.

        curl calls all that it posts a form.
        """
        kind = media_type(self._content_type)
        is_form = kind == URLENCODED and not body.lstrip().startswith(b"{")
        if kind == MULTIPART or is_form:
            return decode_form(read_form(body, self._content_type), metadata, self._limits)
        return decode_json(body, metadata, self._limits)
