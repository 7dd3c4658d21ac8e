"""The front: one gRPC server for all graphs. It finds the graph by the model's name in the message.

| method | answers |
|---|---|
| ServerLive, ServerReady, ServerMetadata | the front itself |
| RepositoryIndex | the front, from what the controller says |
| RepositoryModelLoad, RepositoryModelUnload | the front; they need the control API's token |
| ModelReady, ModelMetadata, ModelInfer | a router of the graph |
| ModelStreamInfer | for each request a router of the graph that it names |
| Seldon's methods | a router of the graph that the call's metadata name |

Messages to routers pass as they are: of them only the field with the name is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc

from anabranch.access.identity import Asker
from anabranch.access.roles import Action as Allowed
from anabranch.errors import InvalidRequest, Unavailable
from anabranch.router.addresses import Addresses, Control
from anabranch.router.backend import ControlBackend
from anabranch.router.errors import ClientGone
from anabranch.router.following import Follower
from anabranch.router.gateway.repository import (
    EXTENSIONS,
    Action,
    absent,
    change,
    check_parameters,
    index,
)
from anabranch.router.grpc import wire
from anabranch.router.grpc.calls import (
    FrontMessages,
    Method,
    ServedCall,
    ServicerContext,
    counted,
)
from anabranch.router.grpc.codes import NOT_TAKEN, REQUEST_ID, Ended, refused
from anabranch.router.grpc.forwarding import forward, forward_stream
from anabranch.router.grpc.messages import SERVICE, parse, path, request_type, response_type
from anabranch.router.grpc.pool import Pool, PooledRouter
from anabranch.router.grpc.read_ahead import Ahead
from anabranch.router.grpc.seldon import messages as seldon
from anabranch.router.grpc.streams import failed
from anabranch.router.large_reply import write_held
from anabranch.router.limits import ByAddress, ConcurrencyLimit, HeldBytes, RequestLimits
from anabranch.router.measure.refusals import refusals_counted

MAX_CALLS = 1024
"""Calls in progress at a time, requests of streams not counted; and streams, of which one address
may have half."""
_PIPELINED = 8
"""Requests of one stream that are in progress at a time."""
_READ_AHEAD = 2
"""Answers to each of them that are kept until those before are through."""
_MODEL_NAME = 1
"""Field of the model's name in every message that is passed on."""


class ServerMethods:
    """The methods about the server as a whole, and its repository of graphs.

    ``is_told`` tells whether the controller has ever said what there is.
    """

    def __init__(
        self, control: ControlBackend, messages: FrontMessages, is_told: Callable[[], bool]
    ) -> None:
        self._control = control
        self._messages = messages
        self._is_told = is_told

    def handlers(self) -> dict[str, Any]:
        """The methods by name, as gRPC's server takes them."""
        methods: dict[str, Method] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._metadata,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {name: self._messages.answered_once(one) for name, one in methods.items()}

    async def _live(self, message: bytes, call: ServedCall) -> bytes:
        return _answer("ServerLive", live=True)

    async def _ready(self, message: bytes, call: ServedCall) -> bytes:
        """Say whether every live graph can answer; likewise while the controller is away."""
        try:
            graphs = await self._control.graphs()
        except Unavailable:
            if not self._is_told():
                raise
            graphs = {}
        return _answer("ServerReady", ready=all(g["ready"] for g in graphs.values() if g["live"]))

    async def _metadata(self, message: bytes, call: ServedCall) -> bytes:
        return _answer(
            "ServerMetadata",
            name="anabranch",
            version=version("anabranch"),
            extensions=EXTENSIONS,
        )

    async def _index(self, message: bytes, call: ServedCall) -> bytes:
        only_ready = parse(request_type("RepositoryIndex"), message).ready
        with refusals_counted("grpc"):
            asker = await self._control.asker(call.credentials, call.address, call.id)
        kind = response_type("RepositoryIndex").ModelIndex
        found = index(await self._control.graphs(), asker.identity, only_ready)
        models = [kind(**one) for one in found]
        return _answer("RepositoryIndex", models=models)

    async def _load(self, message: bytes, call: ServedCall) -> bytes:
        name = await self._change("load", "RepositoryModelLoad", message, call)
        return _answer("RepositoryModelLoad", model_name=name, isLoaded=True)

    async def _unload(self, message: bytes, call: ServedCall) -> bytes:
        name = await self._change("unload", "RepositoryModelUnload", message, call)
        return _answer("RepositoryModelUnload", model_name=name, isUnloaded=True)

    async def _change(self, action: Action, method: str, message: bytes, call: ServedCall) -> str:
        """Load or unload a graph for a caller who may do that; the graph's name."""
        asked = parse(request_type(method), message)
        check_parameters(asked.parameters)
        name: str = asked.model_name or asked.repository_name
        asker = await self.allowed(call, "operate", name)
        refusal = await change(self._control, name, action, asker)
        if refusal is not None:
            raise refused(refusal, call.id)
        return name

    async def allowed(self, call: ServedCall, action: Allowed, graph: str) -> Asker:
        """Return who calls, and may do this to a graph; raises where they may not."""
        shown = call.credentials, call.address, call.id
        with refusals_counted("grpc"):
            return await self._control.allowed(action, graph, *shown)


class Front:
    """The front's methods, and the routers that it knows.

    ``addresses`` takes those of routers to ``apply``; calls wait until it has the first.
    """

    def __init__(
        self, control: Control, limits: RequestLimits, addresses: Follower[Addresses]
    ) -> None:
        self._control = control
        self._addresses = addresses
        self.messages = FrontMessages(limits)
        """Counts the bytes of messages."""
        self._pool = Pool()
        self._server = ServerMethods(control, self.messages, lambda: bool(addresses.version))
        self._gate = ConcurrencyLimit(MAX_CALLS, "may pass through the front")
        self._streams = ConcurrencyLimit(MAX_CALLS, "may stream through the front")
        self._streams_of = ByAddress(
            lambda: ConcurrencyLimit(MAX_CALLS // 2, "may stream from one address")
        )

    def handlers(self) -> list[Any]:
        """The methods of all services as gRPC's server takes them."""
        methods: dict[str, Method] = {
            "ModelReady": self._model_ready,
            "ModelMetadata": partial(self._forward, "ModelMetadata"),
            "ModelInfer": partial(self._forward, "ModelInfer"),
        }
        found = self._server.handlers()
        found |= {name: self.messages.answered_once(one) for name, one in methods.items()}
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        others = {
            name: self.messages.answered_once(partial(self._forward_seldon, seldon.path(name)))
            for name in seldon.methods()
        }
        return [
            grpc.method_handlers_generic_handler(SERVICE, found),
            grpc.method_handlers_generic_handler(seldon.SELDON, others),
        ]

    def apply(self, addresses: Addresses) -> None:
        """Know these routers from now on."""
        self._pool.apply(addresses.grpc(self._control.node))

    def close(self) -> None:
        """Let all connections to routers go."""
        self._pool.close()

    async def _model_ready(self, message: bytes, call: ServedCall) -> bytes:
        """A graph that is there and cannot answer is not ready; that is no error."""
        graph = wire.text(message, _MODEL_NAME)
        await self._server.allowed(call, "describe", graph)
        ring = self._pool.ring(graph)
        if ring is not None and ring.is_asleep:
            # To ask is no reason to wake it.
            return _answer("ModelReady", ready=await self._is_ready(graph))
        try:
            return await self._forward("ModelReady", message, call)
        except Unavailable:
            return _answer("ModelReady", ready=False)

    async def _is_ready(self, graph: str) -> bool:
        graphs = await self._control.graphs()
        return graph in graphs and graphs[graph]["ready"]

    async def _forward(self, method: str, message: bytes, call: ServedCall) -> bytes:
        with self._gate:
            router = await self._router(wire.text(message, _MODEL_NAME), call)
            return await forward(router, path(method), message, call)

    async def _forward_seldon(self, path: str, message: bytes, call: ServedCall) -> bytes:
        graph = seldon.graph_of(call.headers)
        if graph is None:
            raise InvalidRequest(
                f"metadata {seldon.NAME!r} is missing: it names the graph, and "
                f"{seldon.NAMESPACE!r} its namespace"
            )
        with self._gate:
            return await forward(await self._router(graph, call), path, message, call)

    async def _router(self, graph: str, call: ServedCall) -> PooledRouter:
        """Return a router of a graph; raises where the caller may not know of it."""
        await self._server.allowed(call, "describe", graph)
        await self._addresses.first()
        ring = self._pool.ring(graph)
        if ring is None:
            raise absent(graph, await self._control.graphs())
        if ring.is_asleep:
            await self._control.wake(graph)
        return await ring.pick(graph)

    async def _stream(self, messages: AsyncIterator[bytes], context: ServicerContext) -> None:
        """Answer the requests of a stream in their order; several are in progress at a time."""
        call = ServedCall(context)
        try:
            with self._streams, self._streams_of.of(call.address):
                await self._answer_each(messages, context, call)
        except Unavailable as error:
            await call.fail(error)
        except ClientGone:
            await call.fail(Ended(NOT_TAKEN))

    async def _answer_each(
        self, messages: AsyncIterator[bytes], context: ServicerContext, call: ServedCall
    ) -> None:
        context.set_trailing_metadata(((REQUEST_ID, call.id),))
        begun: set[Ahead[bytes]] = set()
        with HeldBytes(self.messages.of(call)) as held:
            try:
                waiting = self._begin(messages, call, begun, held)
                async with Ahead(waiting, _PIPELINED - 1) as requests:
                    async for answers in requests:
                        async with answers:
                            async for answer in answers:
                                part = held.split(counted(len(answer)))
                                await write_held(context.write, answer, part)
                        begun.discard(answers)
            finally:
                await asyncio.gather(*(answers.close() for answers in begun))

    async def _begin(
        self,
        messages: AsyncIterator[bytes],
        call: ServedCall,
        begun: set[Ahead[bytes]],
        held: HeldBytes,
    ) -> AsyncGenerator[Ahead[bytes], None]:
        async for message in messages:
            answers = Ahead(self._answers(message, call, held), _READ_AHEAD)
            begun.add(answers)
            yield answers

    async def _answers(
        self, message: bytes, call: ServedCall, held: HeldBytes
    ) -> AsyncGenerator[bytes, None]:
        """Yield the answers to a request, each counted in what its stream ``held``."""
        try:
            with HeldBytes(self.messages.of(call)) as of_message:
                of_message.add(counted(len(message)))
                router = await self._router(wire.text(message, _MODEL_NAME), call)
                async for answer in forward_stream(router, message, call):
                    held.add(counted(len(answer)))
                    yield answer
        except Exception as error:
            yield failed(error, call.id, message)


def _answer(method: str, **fields: Any) -> bytes:
    data: bytes = response_type(method)(**fields).SerializeToString()
    return data
