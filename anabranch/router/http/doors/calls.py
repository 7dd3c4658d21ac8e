"""One call of a graph, for any protocol in JSON: its place, its limits, its decoding, its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from typing import Protocol, TypeAlias, TypeVar

from anabranch.graph.calls.cache_status import HEADER
from anabranch.graph.calls.stepping import Started
from anabranch.router.errors import HttpReply, error_reply
from anabranch.router.http.app import CancelOnDisconnect
from anabranch.router.http.doors.contract import ErrorForm
from anabranch.router.http.event_stream import EventStream, begin, to_events
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, ModelMetadata
from anabranch.router.limits import LARGE, BytesUnderWay, HeldBytes
from anabranch.router.oip.generate import joined
from anabranch.router.oip.helper_process import apart
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import memory_of_arrays
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.stages.contract import Responses


class AskedCall(Protocol):
    """A request, and what else its reply depends on."""

    @property
    def request(self) -> InferenceRequest:
        """The request that the graph is to answer."""


A = TypeVar("A", bound=AskedCall)
Decode: TypeAlias = Callable[[Buffer, ModelMetadata], A]
"""Makes a call of a body, for the graph that the metadata describe.

It and the call can be pickled, and it has no effects: it may run in another process.
"""
Encode: TypeAlias = Callable[[InferenceResponse, ModelMetadata, A], HttpReply]
"""Makes the reply to a call."""
EncodeEach: TypeAlias = Callable[[Responses, ModelMetadata], AsyncGenerator[bytes, None]]
"""Makes documents, without newlines, of responses that come one after the other."""
CACHE_STATUS = HEADER.encode()


class GraphCalls:
    """Calls of one graph; each holds a place from before its body is read until it is answered."""

    def __init__(self, arms: Arms) -> None:
        self.arms = arms
        self._body = BodyRule.of(arms.limits, arms.under_way)

    async def body(self, request: HttpRequest) -> Buffer:
        """Read the body of a request, once its caller might be let in."""
        self.arms.gate.check(request.caller)
        return await request.buffer(self._body)

    async def infer(
        self,
        request: HttpRequest,
        decode: Decode[A],
        encode: Encode[A],
        revision: str | None = None,
    ) -> HttpReply:
        """Answer with one response, as the routing table says.

        Raises as ``decode``, ``Arms.infer`` and ``encode`` do.
        """
        arms, metadata = self.arms, self.arms.metadata(revision)
        body = await self.body(request)
        with arms.gate.place(body, request.caller):
            asked = await self._decoded(request, body, decode, metadata)
            running = Started(
                arms.infer(asked.request, lambda found: encode(found, metadata, asked), revision)
            )
            if running.done:
                return self.answered(*running.value, request)
            async with CancelOnDisconnect(request.receive):
                return self.answered(*(await running), request)

    async def joined(
        self,
        request: HttpRequest,
        decode: Decode[AskedCall],
        encode: Callable[[InferenceResponse | None, ModelMetadata], HttpReply],
        revision: str | None = None,
    ) -> HttpReply:
        """Answer with all responses of a graph that may stream, their texts joined."""
        arms, metadata = self.arms, self.arms.metadata(revision)
        body = await self.body(request)
        with arms.gate.place(body, request.caller):
            asked = await self._decoded(request, body, decode, metadata)
            responses = arms.stream(asked.request, revision)
            async with CancelOnDisconnect(request.receive):
                found = await joined(responses, arms.limits.max_body)
        return self.answered(found, encode(found, metadata), request)

    async def stream(
        self,
        request: HttpRequest,
        decode: Decode[AskedCall],
        encode_each: EncodeEach,
        revision: str | None = None,
    ) -> EventStream:
        """Answer with server-sent events, one for each document."""
        arms, metadata = self.arms, self.arms.metadata(revision)
        body = await self.body(request)
        with ExitStack() as held:
            held.enter_context(arms.gate.place(body, request.caller, streams=True))
            asked = await self._decoded(request, body, decode, metadata)
            responses = arms.stream(asked.request, revision)
            return await self.events(request, encode_each(responses, metadata), held)

    async def events(
        self,
        request: HttpRequest,
        documents: AsyncGenerator[bytes, None],
        held: ExitStack,
        form: ErrorForm = error_reply,
    ) -> EventStream:
        """Answer with documents as server-sent events; ``held`` is released at their end.

        ``form`` makes the last event of an error. An error before the first document is raised.
        """
        counted = _counted_each(documents, self.arms.under_way)
        events = to_events(counted, held.pop_all(), request.id, form)
        async with CancelOnDisconnect(request.receive):
            return await begin(events)

    async def explain(
        self, request: HttpRequest, decode: Decode[AskedCall], revision: str | None = None
    ) -> HttpReply:
        """Answer with an explanation, in JSON; raise as ``decode`` and ``Arms.explain`` do."""
        arms, metadata = self.arms, self.arms.metadata(revision)
        arms.explain_gate.check()
        body = await request.buffer(self._body)
        with arms.gate.caller_place(request.caller), arms.explain_gate:
            asked = await self._decoded(request, body, decode, metadata)
            async with CancelOnDisconnect(request.receive):
                found = await arms.explain(asked.request, revision)
        return self.counted(HttpReply(200, found), request)

    def answered(
        self, response: InferenceResponse | None, reply: HttpReply, request: HttpRequest
    ) -> HttpReply:
        """Count a reply, and tell in it how caches have handled the request."""
        if response is not None and response.annotations is not None:
            reply = _told_of_caches(reply, response)
        return self.counted(reply, request) if len(reply.body) > LARGE else reply

    def counted(self, reply: HttpReply, request: HttpRequest) -> HttpReply:
        """Count a large reply until it has been sent; Unavailable where that would be too much."""
        if len(reply.body) > LARGE:
            request.hold(len(reply.body), self.arms.under_way)
        return reply

    async def _decoded(
        self, request: HttpRequest, body: Buffer, decode: Decode[A], metadata: ModelMetadata
    ) -> A:
        """Decode a body, off the event loop if it is large or may hold images, and count it."""
        if len(body) <= LARGE and not metadata.takes_images:
            asked = decode(body, metadata)
        else:
            asked = await apart(len(body), decode, memoryview(body), metadata)
            request.hold(memory_of_arrays(asked.request.inputs.values()), self.arms.under_way)
        told_of_call(asked.request, request)
        return asked


def _told_of_caches(reply: HttpReply, response: InferenceResponse) -> HttpReply:
    if not (status := response.cache_status):
        return reply
    return reply._replace(headers=(*reply.headers, (CACHE_STATUS, status.encode())))


def told_of_call(decoded: InferenceRequest, request: HttpRequest) -> None:
    """Add to a request what only its call says."""
    decoded.headers, decoded.request_id = request.headers, request.id
    decoded.caller, decoded.trace = request.caller, request.trace


async def _counted_each(
    documents: AsyncGenerator[bytes, None], under_way: BytesUnderWay
) -> AsyncGenerator[bytes, None]:
    """Count each large part of an answer until the next one is asked for."""
    with HeldBytes(under_way) as held:
        async with aclosing(documents):
            async for document in documents:
                held.set(len(document) if len(document) > LARGE else 0)
                yield document
