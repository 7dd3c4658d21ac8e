"""The endpoints of the V1 protocol for one graph.

| method | path | answers |
|---|---|---|
| POST | ``/v1/models/<graph>[/versions/<N>]:predict`` | inference |
| POST | ``/v1/models/<graph>[/versions/<N>]:explain`` | an explanation |
| GET | ``/v1/models/<graph>[/versions/<N>]`` | whether it is ready, and its versions |
| GET | ``/v1/models/<graph>[/versions/<N>]/metadata`` | types of its inputs and outputs |
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from anabranch.errors import Unavailable
from anabranch.router.errors import HttpReply
from anabranch.router.http.app import json_reply
from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import VERSION, Methods
from anabranch.router.http.doors.places import V1
from anabranch.router.http.doors.v1.answers import encode_v1
from anabranch.router.http.doors.v1.openapi import paths_of
from anabranch.router.http.doors.v1.requests import V1Request, decode_v1
from anabranch.router.http.doors.v1.status import metadata_document, state_document
from anabranch.router.http.request import HttpRequest
from anabranch.router.inference.contract import InferenceResponse, ModelMetadata
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName


class V1Door:
    """``instances`` or ``inputs`` in JSON, and ``predictions`` or ``outputs`` back."""

    protocol: ProtocolName = "v1"
    words: Mapping[str, Methods] = {}

    def __init__(self, calls: GraphCalls, feedback: Feedback | None = None) -> None:
        self._calls = calls
        self._arms = calls.arms
        self._decode = partial(decode_v1, limits=calls.arms.limits)
        root = f"{V1}{self._arms.name}"
        self.paths: Mapping[str, Methods] = {
            f"{root}{version}{word}": methods
            for version in ("", VERSION)
            for word, methods in self._methods().items()
        }

    def _methods(self) -> Mapping[str, Methods]:
        return {
            "": {"GET": ("describe", self._state)},
            "/metadata": {"GET": ("describe", self._metadata)},
            ":predict": {"POST": ("call", self._predict)},
            ":explain": {"POST": ("call", self._explain)},
        }

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the paths of this protocol, with examples of requests."""
        return paths_of(metadata, self._arms.explainers())

    async def _state(self, revision: str | None, request: HttpRequest) -> HttpReply:
        self._arms.check_ready(revision)
        versions = self._arms.metadata(revision).versions
        obstacles = {version: self._obstacle(version) for version in versions}
        return json_reply(state_document(self._arms.name, obstacles))

    def _obstacle(self, version: str) -> str:
        try:
            self._arms.check_ready(version)
        except Unavailable as error:
            return str(error)
        return ""

    async def _metadata(self, revision: str | None, request: HttpRequest) -> HttpReply:
        version = revision or self._arms.routing.stable.core.version
        return json_reply(metadata_document(self._arms.metadata(revision), version))

    async def _predict(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return await self._calls.infer(request, self._decode, _encode, revision)

    async def _explain(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return await self._calls.explain(request, self._decode, revision)


def _encode(response: InferenceResponse, metadata: ModelMetadata, asked: V1Request) -> HttpReply:
    return encode_v1(response, metadata, asked.is_by_row)
