"""A client of plain stubs, and a graph of one step behind a real gRPC server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from anabranch.router.grpc.messages import InferRequest, path, request_type, response_type
from anabranch.router.grpc.server import GrpcServer
from anabranch.router.grpc.servers import FrontServer, RouterServer
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.raw_tensors import encode_raw
from anabranch.router.traffic.arms import Arms
from tests.router.control import FakeControl

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Stub:
    """The protocol's methods on a channel: ``stub("ModelReady", name="demo")``."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def __call__(self, method: str, request: Any = None, **fields: Any) -> Any:
        options = {k: fields.pop(k) for k in ("metadata", "timeout") if k in fields}
        request = request_type(method)(**fields) if request is None else request
        return self.raw(method, request.SerializeToString(), **options)

    def raw(self, method: str, message: bytes, **options: Any) -> Any:
        options = {"timeout": 30, **options}
        read = response_type(method).FromString
        return self.channel.unary_unary(path(method), response_deserializer=read)(
            message, **options
        )

    def stream(self, requests: Any = None, **options: Any) -> Any:
        method = "ModelStreamInfer"
        return self.channel.stream_stream(
            path(method),
            request_serializer=request_type(method).SerializeToString,
            response_deserializer=response_type(method).FromString,
        )(requests, **options)


def infer_request(
    name: str = "demo", raw: bool = True, id: str = "", version: str = "", **inputs: Any
) -> Any:
    """A request for arrays, or where none are given for the input of the graph in these tests."""
    message = InferRequest(model_name=name, id=id, model_version=version)
    arrays = inputs or {"x": np.array([[1, 2], [3, 4]], np.float32)}
    for key, array in arrays.items():
        tensor = message.inputs.add(name=key, datatype="FP32", shape=array.shape)
        if raw:
            message.raw_input_contents.append(encode_raw(array, "FP32"))
        else:
            tensor.contents.fp32_contents.extend(array.ravel().tolist())
    return message


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        yield Stub(channel)


@asynccontextmanager
async def serving(arms: Arms, limits: RequestLimits | None = None) -> AsyncIterator[int]:
    """The port of a graph's own server."""
    server = GrpcServer([GraphServicer(arms).handlers()], limits or arms.limits)
    port = server.bind("127.0.0.1")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def served(arms: Arms, limits: RequestLimits | None = None) -> AsyncIterator[Stub]:
    """A client of a graph's own server."""
    async with serving(arms, limits) as port, connected(f"127.0.0.1:{port}") as stub:
        yield stub


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """How a call fails that must; what is told of it is fit for a client."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = raised.value
    details = str(error.details())
    assert len(details.encode()) <= 2048
    assert "Traceback" not in details and "/" not in details.replace(" / ", ""), details
    return error


def trailer(error: Any) -> dict[str, Any]:
    return dict(error.trailing_metadata())


@asynccontextmanager
async def fronting(
    control: FakeControl, limits: RequestLimits | None = None
) -> AsyncIterator[tuple[FrontServer, int]]:
    """A front that knows what the control says, and its port."""
    front = FrontServer(control, limits or RequestLimits())
    port = await front.start("127.0.0.1", 0)
    try:
        yield front, port
    finally:
        await front.stop(0)


@asynccontextmanager
async def fronted(control: FakeControl, limits: RequestLimits | None = None) -> AsyncIterator[Stub]:
    """A client of such a front."""
    async with fronting(control, limits) as (_, port), connected(f"127.0.0.1:{port}") as stub:
        yield stub


@asynccontextmanager
async def router(arms: Arms) -> AsyncIterator[RouterServer]:
    """A graph's own server."""
    server = RouterServer(arms)
    await server.start(None, "127.0.0.1")
    try:
        yield server
    finally:
        await server.stop(0)
