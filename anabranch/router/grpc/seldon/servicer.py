"""Seldon's methods of one graph, over the graph's arms.

A call may name the graph by metadata, as those through a gateway of Seldon's do: ``seldon`` and
``namespace``. The id of a prediction is that of its message, or else that of the metadata
``seldon-puid``, or else that of the call; trailing metadata tell it, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc

from anabranch.errors import NotFound
from anabranch.names import MAX_NAME
from anabranch.router.grpc.calls import GrpcCall
from anabranch.router.grpc.seldon.decode import decode_predict, decode_repeated, decode_reward
from anabranch.router.grpc.seldon.encode import (
    encode_graph,
    encode_model,
    encode_reply,
    encode_reward,
)
from anabranch.router.grpc.seldon.messages import SELDON, graph_of
from anabranch.router.grpc.servicer import Answers, shorten, unary_handlers, watched
from anabranch.router.inference.contract import InferenceResponse
from anabranch.router.limits import LARGE, HeldBytes
from anabranch.router.measure.requests import Requests
from anabranch.router.off_loop import off_loop
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import memory_of_arrays
from anabranch.router.seldon.answers import answer_of, meta_of
from anabranch.router.seldon.messages import PUID, Prediction, fits_header
from anabranch.router.seldon.rewards import UNDECIDED, UNJUDGED, repeated
from anabranch.router.seldon.status import success
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback


class SeldonServicer:
    """Answers Seldon's calls about one graph, while its stable revision, or the engine, has them.

    Rewards are taken only where there is ``feedback``.
    """

    def __init__(self, arms: Arms, feedback: Feedback | None = None) -> None:
        self._arms = arms
        requests = Requests(arms.name, "grpc")
        observe = partial(watched, arms, requests, SELDON)
        self.predict = observe("Predict", "call", self._predict)
        """Answers a SeldonMessage with one; raises what ends the call."""
        self._methods: dict[str, Answers[bytes]] = {
            "Predict": self.predict,
            "ModelMetadata": observe("ModelMetadata", "describe", self._model),
            "GraphMetadata": observe("GraphMetadata", "describe", self._graph),
        }
        if feedback is not None:
            give = partial(self._reward, feedback)
            self._methods["SendFeedback"] = observe("SendFeedback", "feedback", give)

    def handlers(self) -> Any:
        """Return the methods as gRPC's server takes them."""
        found = unary_handlers(self._methods, self._arms)
        return grpc.method_handlers_generic_handler(SELDON, found)

    async def _predict(self, message: Buffer, call: GrpcCall) -> bytes:
        self._check(call)
        arms, given = self._arms, call.headers.get(PUID, "")
        with arms.gate.place(message, call.caller), HeldBytes(arms.under_way) as held:
            asked = await self._decoded(message, call, held)
            request = asked.request
            self._tell_puid(call, given or request.id or "")
            shorten(request, call.remaining())
            request.headers, request.request_id = call.headers, call.id
            request.trace, request.caller = call.trace, call.caller
            _, answer = await arms.infer(request, partial(self._encoded, asked))
            return answer

    async def _decoded(self, message: Buffer, call: GrpcCall, held: HeldBytes) -> Prediction:
        """Decode a message, a large one off the event loop, and count what it becomes."""
        arms, metadata = self._arms, self._arms.metadata()
        puid = call.headers.get(PUID) or call.id

        def decode() -> Prediction:
            asked = decode_predict(message, arms.limits).prediction(metadata, arms.limits, puid)
            asked.request.protocol = "grpc"
            return asked

        if len(message) <= LARGE:
            return decode()
        held.add(call.uncounted(message))
        found = await off_loop(decode)
        held.add(memory_of_arrays(found.request.inputs.values()))
        return found

    def _encoded(self, asked: Prediction, response: InferenceResponse) -> bytes:
        signature = self._arms.routing.arm(response.model_version).core.signature
        answer = answer_of(response, asked.kind, signature)
        return encode_reply(answer, meta_of(response, asked, signature))

    async def _reward(self, feedback: Feedback, message: Buffer, call: GrpcCall) -> bytes:
        self._check(call)
        with feedback.gate:
            told = decode_reward(bytes(message), call.headers.get(PUID, ""), self._arms.limits)
            if not self._arms.routing.decides:
                return encode_reward(told.given.id or "", {"counted": False}, success(UNDECIDED))
            decode = partial(decode_repeated, limits=self._arms.limits)
            judged = await repeated(told, decode, self._arms)
            found = await feedback.give(told.given, judged)
        tags = {"counted": found["counted"], "reward": found["reward"]}
        self._tell_puid(call, found["id"])
        return encode_reward(found["id"], tags, success("" if told.is_judged else UNJUDGED))

    async def _model(self, message: Buffer, call: GrpcCall) -> bytes:
        self._check(call)
        return encode_model(self._arms.metadata())

    async def _graph(self, message: Buffer, call: GrpcCall) -> bytes:
        self._check(call)
        return encode_graph(self._arms.metadata())

    def _check(self, call: GrpcCall) -> None:
        """Raise NotFound where a call is not for this graph, or the graph has not the protocol."""
        own, asked = self._arms.name, graph_of(call.headers)
        if asked is not None and asked != own:
            raise NotFound(f"there is no graph {asked[: MAX_NAME + 1]!r} here (there is: {own!r})")
        self._arms.check_protocol("seldon")

    def _tell_puid(self, call: GrpcCall, puid: str) -> None:
        if fits_header(puid):
            call.trailer[PUID] = puid
