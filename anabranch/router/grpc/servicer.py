"""The gRPC face of one graph: the protocol's methods for a model, over the graph's arms.

It takes bytes and answers bytes; what a request may be and what is answered is decided in the core
that HTTP has too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc

from anabranch.access.issuers import UnknownSigner
from anabranch.access.roles import Action
from anabranch.errors import NotFound, Unavailable
from anabranch.graph.calls.cache_status import HEADER
from anabranch.names import MAX_NAME
from anabranch.router.errors import ClientGone
from anabranch.router.grpc.calls import GrpcCall, ServedCall, ServicerContext, answered, counted
from anabranch.router.grpc.codec import (
    DecodedMessage,
    decode_request,
    encode_metadata,
    encode_response,
)
from anabranch.router.grpc.codes import NOT_TAKEN, REQUEST_ID, Ended
from anabranch.router.grpc.messages import SERVICE, Message, parse, request_type, response_type
from anabranch.router.grpc.observing import GrpcObserver
from anabranch.router.grpc.read_ahead import Ahead
from anabranch.router.grpc.streams import failed, last, part, wants_last
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.inference.core import TIMEOUT
from anabranch.router.large_reply import write_held
from anabranch.router.limits import LARGE, HeldBytes
from anabranch.router.measure.requests import Requests
from anabranch.router.off_loop import off_loop
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import memory_of_arrays
from anabranch.router.traffic.arms import Arms

Answer = TypeVar("Answer")
Answers: TypeAlias = Callable[[Buffer, GrpcCall], Coroutine[Any, Any, Answer]]

_READ_AHEAD = 2
"""Answers of one request in a stream that are made before the client has taken them."""
_END_S = 0.005
"""Time to find out that the first answer was the only one, where it comes from another process."""
_MICROSECONDS = 1e6


class GraphServicer:
    """Answers calls about one graph."""

    def __init__(self, arms: Arms) -> None:
        self._arms = arms
        self._requests = Requests(arms.name, "grpc")
        self.infer = self._observed("ModelInfer", "call", self._infer)
        """Answers a ModelInferRequest with a ModelInferResponse; raises what ends the call."""

    def handlers(self) -> Any:
        """The methods as gRPC's server takes them."""
        methods: dict[str, Answers[bytes]] = {
            "ModelReady": self._observed("ModelReady", "describe", self._ready),
            "ModelMetadata": self._observed("ModelMetadata", "describe", self._metadata),
            "ModelInfer": self.infer,
        }
        found = unary_handlers(methods, self._arms)
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, found)

    def _observed(self, name: str, action: Action, method: Answers[Answer]) -> Answers[Answer]:
        """A method for those who may do this: counted, and recorded where it is sampled."""
        return watched(self._arms, self._requests, SERVICE, name, action, method)

    async def _ready(self, message: Buffer, call: GrpcCall) -> bytes:
        revision = self._revision(parse(request_type("ModelReady"), message))
        try:
            self._arms.check_ready(revision)
            ready = True
        except Unavailable:
            ready = False
        data: bytes = response_type("ModelReady")(ready=ready).SerializeToString()
        return data

    async def _metadata(self, message: Buffer, call: GrpcCall) -> bytes:
        revision = self._revision(parse(request_type("ModelMetadata"), message))
        return encode_metadata(self._arms.metadata(revision))

    def _revision(self, asked: Message) -> str | None:
        """The revision that a request names, which must be there; None for the graph."""
        self._check_name(asked.name)
        if asked.version:
            self._arms.routing.arm(asked.version)
        return asked.version or None

    def _check_name(self, name: str) -> None:
        if name != self._arms.name:
            asked, own = name[: MAX_NAME + 1], self._arms.name
            raise NotFound(f"there is no graph {asked!r} here (there is: {own!r})")

    async def _infer(self, message: Buffer, call: GrpcCall) -> bytes:
        with self._arms.gate.place(message, call.caller):
            if len(message) > LARGE:
                return await self._infer_large(message, call)
            decoded = decode_request(message, self._arms.limits)
            return await self._evaluated(self._told(decoded, call), call)

    async def _infer_large(self, message: Buffer, call: GrpcCall) -> bytes:
        """Answer a large message, which is decoded off the event loop."""
        with HeldBytes(self._arms.under_way) as held:
            decoded = await self._decoded_large(message, call, held)
            return await self._evaluated(self._told(decoded, call), call)

    async def _decoded_large(
        self, message: Buffer, call: GrpcCall, held: HeldBytes
    ) -> DecodedMessage:
        held.add(call.uncounted(message))
        decoded = await off_loop(partial(decode_request, message, self._arms.limits))
        held.add(memory_of_arrays(decoded.request.inputs.values()))
        return decoded

    async def _evaluated(self, decoded: DecodedMessage, call: GrpcCall) -> bytes:
        response, answer = await self._arms.infer(
            decoded.request,
            lambda response: b"".join(encode_response(response, decoded.is_typed)),
            decoded.version or None,
        )
        if status := response.cache_status:
            call.trailer[HEADER] = status
        return answer

    def _told(self, decoded: DecodedMessage, call: GrpcCall) -> DecodedMessage:
        """Add to a request what only its call says."""
        self._check_name(decoded.model)
        shorten(decoded.request, call.remaining())
        request = decoded.request
        request.headers, request.request_id, request.trace = call.headers, call.id, call.trace
        request.caller = call.caller
        return decoded

    async def _stream(self, messages: AsyncIterator[bytes], context: ServicerContext) -> None:
        """Answer the requests of a stream, one after the other."""
        call = ServedCall(context)
        context.set_trailing_metadata(((REQUEST_ID, call.id),))
        send = partial(self._answer, context.write)
        answer = self._observed("ModelStreamInfer", "call", send)
        async for message in messages:
            try:
                await answer(message, call)
            except ClientGone:
                await call.fail(Ended(NOT_TAKEN))
            except Exception as error:
                await context.write(failed(error, call.id, message))

    async def _answer(
        self, write: Callable[[bytes], Awaitable[None]], message: Buffer, call: GrpcCall
    ) -> None:
        arms = self._arms
        with arms.gate.place(message, call.caller, True), HeldBytes(arms.under_way) as held:
            if len(message) > LARGE:
                decoded = self._told(await self._decoded_large(message, call, held), call)
            else:
                decoded = self._told(decode_request(message, arms.limits), call)
            answers = arms.stream(decoded.request, decoded.version or None)
            is_last, patience = False, _END_S
            async with Ahead(_counted_each(answers, held), _READ_AHEAD) as ahead:
                async for response in ahead:
                    is_last = await ahead.ends(patience)
                    patience = 0.0
                    answer = part(encode_response(response, decoded.is_typed, is_last))
                    await write_held(write, answer, held.split(counted(response.size)))
            if not is_last and wants_last(decoded):
                await write(last(decoded))


async def _counted_each(
    responses: AsyncGenerator[InferenceResponse, None], held: HeldBytes
) -> AsyncGenerator[InferenceResponse, None]:
    async with aclosing(responses):
        async for response in responses:
            held.add(counted(response.size))
            yield response


def unary_handlers(methods: Mapping[str, Answers[bytes]], arms: Arms) -> dict[str, Any]:
    """Return methods of one message and one answer as gRPC's server takes them."""
    return {
        name: grpc.unary_stream_rpc_method_handler(answered(one, lambda call: arms.under_way))
        for name, one in methods.items()
    }


def watched(
    arms: Arms,
    requests: Requests,
    service: str,
    name: str,
    action: Action,
    method: Answers[Answer],
) -> Answers[Answer]:
    """Return a method of a service for those who may do this: counted, and traced if sampled."""
    observed = GrpcObserver(requests, arms.name, arms.sampler, name, service).observed
    guard = arms.guard

    async def allowed(message: Buffer, call: GrpcCall) -> Answer:
        try:
            identity = guard.check(action, call.credentials, call.address)
        except UnknownSigner:
            identity = await guard.check_renewed(action, call.credentials, call.address)
        call.asked_by(identity)
        if call.unpack is not None:
            message = await call.unpack(message)
        return await method(message, call)

    return lambda message, call: observed(call, allowed(message, call))


def shorten(request: InferenceRequest, remaining: float | None) -> None:
    """Have the client's deadline, in seconds from now, count where it is the shorter time."""
    asked = request.parameters.get(TIMEOUT, 0)
    if remaining is None or type(asked) is not int:
        return
    left = max(1, int(remaining * _MICROSECONDS))
    if asked == 0 or asked > left:
        request.parameters = {**request.parameters, TIMEOUT: left}
