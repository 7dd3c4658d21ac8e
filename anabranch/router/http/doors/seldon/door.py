"""The door of Seldon Core v1.

Below ``/seldon/<namespace>/<name>``, where the namespace of graphs without one is ``default`` and
may be left out before ``/api``, and at the root of a graph's own port:

| method | path | answers |
|---|---|---|
| POST | ``/api/v1.0/predictions`` | a prediction |
| POST | ``/api/v1.0/feedback`` | a reward for one |
| GET | ``/api/v1.0/metadata`` | inputs and outputs of the graph, and of the models in it |
| GET | ``/api/v1.0/metadata/<name>`` | the graph as a model |
| GET | ``/ready``, ``/api/v1.0/status``, ``/api/v1.0/health/status`` | 200, or 503 |
| GET | ``/live`` | 200 |
| GET | ``/api/v1.0/doc/`` | the way to the graph's page |

All but ``/ready``, ``/live`` and what is v1.0 only is below ``/api/v0.1``, too
(``executor/api/rest/server.go``). The graph is the only model that clients know of.

A prediction's id (``puid``) is that of its message, or else of the header ``Seldon-Puid``, or else
that of the call. It comes back in the message and in the header, and feedback names it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from anabranch.names import namespace_of
from anabranch.router.errors import ClientGone, Headers, HttpReply
from anabranch.router.http.app import json_reply
from anabranch.router.http.doors.calls import GraphCalls
from anabranch.router.http.doors.contract import Endpoint, Methods
from anabranch.router.http.doors.seldon.bodies import json_body
from anabranch.router.http.doors.seldon.openapi import paths
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.inference.contract import InferenceResponse, ModelMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.encode import encode_metadata
from anabranch.router.oip.helper_process import by_size
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.seldon.answers import answer_of, meta_of
from anabranch.router.seldon.json_messages import decode_message, decode_repeated, encode_reply
from anabranch.router.seldon.messages import PUID, Prediction, fits_header
from anabranch.router.seldon.rewards import UNDECIDED, UNJUDGED, Told, decode_feedback, repeated
from anabranch.router.seldon.status import seldon_error, success
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName

VERSIONS = ("/api/v1.0", "/api/v0.1")
_LATEST = VERSIONS[0]
_READY = "/ready"


class SeldonDoor:
    """Predictions and rewards of one graph, for clients of Seldon Core v1."""

    protocol: ProtocolName = "seldon"
    words: Mapping[str, Methods] = {}

    def __init__(self, calls: GraphCalls, feedback: Feedback | None) -> None:
        self._calls = calls
        self._arms = arms = calls.arms
        self._feedback = feedback
        self._body = BodyRule.of(arms.limits, arms.under_way)
        self._name = arms.name.rpartition("/")[2]
        self._place = f"/seldon/{namespace_of(arms.name)}/{self._name}"

    @property
    def paths(self) -> Mapping[str, Methods]:
        """Methods by whole path, but for ``/ready`` at the root, which every graph has."""
        below = self._below()
        found = {self._place + path: methods for path, methods in below}
        found |= {path: methods for path, methods in below if path != _READY}
        if self._name == self._arms.name:
            short = f"/seldon/{self._name}"
            found |= {short + path: one for path, one in below if path.startswith("/api/")}
        return found

    def _below(self) -> list[tuple[str, Methods]]:
        posts: dict[str, Methods] = {"predictions": {"POST": ("call", self._told(self._predict))}}
        if self._feedback is not None:
            give = partial(self._reward, self._feedback)
            posts["feedback"] = {"POST": ("feedback", self._told(give))}
        ready: Methods = {"GET": ("describe", self._ready)}
        model: Methods = {"GET": ("describe", self._model)}
        doc: Methods = {"GET": ("describe", self._doc)}
        return [
            *((f"{api}/{word}", found) for api in VERSIONS for word, found in posts.items()),
            *((f"{api}/metadata/{self._name}", model) for api in VERSIONS),
            *((f"{api}/status/{self._name}", ready) for api in VERSIONS),
            (f"{_LATEST}/metadata", {"GET": ("describe", self._graph)}),
            (f"{_LATEST}/status", ready),
            (f"{_LATEST}/health/status", ready),
            *((f"{api}/doc/", doc) for api in VERSIONS),
            (_READY, ready),
            ("/live", {"GET": ("describe", self._live)}),
        ]

    def openapi(self, metadata: ModelMetadata) -> Mapping[str, Any]:
        """Return the paths of this protocol, for the graph of the metadata."""
        return paths(metadata, self._place, self._feedback is not None)

    def _told(self, answer: Callable[[HttpRequest, str], Awaitable[HttpReply]]) -> Endpoint:
        """Return an endpoint whose replies, also errors, have the id that the header gave."""

        async def endpoint(revision: str | None, request: HttpRequest) -> HttpReply:
            given = request.headers.get(PUID, "")
            try:
                return await answer(request, given)
            except ClientGone:
                raise
            except Exception as error:
                reply = seldon_error(error, request.id)
                return reply._replace(headers=(*reply.headers, *_header(given or request.id)))

        return endpoint

    async def _predict(self, request: HttpRequest, given: str) -> HttpReply:
        puid, content_type = given or request.id, request.headers.get("content-type", "")
        decode = partial(_decode, content_type, puid, self._arms.limits)
        return await self._calls.infer(request, decode, partial(self._encode, given))

    def _encode(
        self, given: str, response: InferenceResponse, metadata: ModelMetadata, asked: Prediction
    ) -> HttpReply:
        signature = self._arms.routing.arm(response.model_version).core.signature
        answer = answer_of(response, asked.kind, signature)
        body = encode_reply(answer, meta_of(response, asked, signature))
        return HttpReply(200, body, _header(given or response.id or ""))

    async def _reward(self, feedback: Feedback, request: HttpRequest, given: str) -> HttpReply:
        feedback.gate.check()
        body = await request.buffer(self._body)
        content_type = request.headers.get("content-type", "")
        with feedback.gate:
            told = await by_size(body, _decode_reward, content_type, given)
            if not self._arms.routing.decides:
                return _rewarded(given or told.given.id or "", {"counted": False}, UNDECIDED)
            judged = await repeated(told, decode_repeated, self._arms)
            found = await feedback.give(told.given, judged)
        tags = {"counted": found["counted"], "reward": found["reward"]}
        return _rewarded(found["id"], tags, "" if told.is_judged else UNJUDGED)

    async def _graph(self, revision: str | None, request: HttpRequest) -> HttpReply:
        model = _model(self._arms.metadata())
        return json_reply(
            {
                "name": self._name,
                "models": {self._name: model},
                "graphinputs": model["inputs"],
                "graphoutputs": model["outputs"],
            }
        )

    async def _model(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return json_reply(_model(self._arms.metadata()))

    async def _ready(self, revision: str | None, request: HttpRequest) -> HttpReply:
        self._arms.check_ready()
        return HttpReply(200, b"")

    async def _live(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return HttpReply(200, b"")

    async def _doc(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return HttpReply(307, b"", ((b"location", f"/v2/models/{self._arms.name}/docs/".encode()),))


def _decode(
    content_type: str, puid: str, limits: RequestLimits, body: Buffer, metadata: ModelMetadata
) -> Prediction:
    return decode_message(json_body(body, content_type)).prediction(metadata, limits, puid)


def _decode_reward(body: Buffer, content_type: str, puid: str) -> Told:
    return decode_feedback(json_body(body, content_type), puid)


def _rewarded(puid: str, tags: Mapping[str, Any], info: str) -> HttpReply:
    document = {"status": success(info), "meta": {"puid": puid, "tags": tags}}
    return json_reply(document)._replace(headers=_header(puid))


def _header(puid: str) -> Headers:
    """Return the header with an id; none for an id that no header can hold."""
    return ((PUID.encode(), puid.encode()),) if fits_header(puid) else ()


def _model(metadata: ModelMetadata) -> dict[str, Any]:
    return dict(encode_metadata(metadata))
