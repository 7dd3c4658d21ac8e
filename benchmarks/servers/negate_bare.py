"""The floor: one ASGI application on uvicorn and one method on gRPC's own server, nothing checked.

Speaks just enough of the Open Inference Protocol for one FP32 input and one FP32 output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import uvicorn
import uvloop
from negate_ports import noted
from negating import Floats, Negate
from script import HOST, arguments, free_port

from anabranch.router.grpc.messages import SERVICE, InferRequest, InferResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LENGTH = b"inference-header-content-length"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
NODE = Negate()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer in JSON or in binary, as the request was."""
    body = await read(receive)
    length = dict(scope["headers"]).get(LENGTH)
    pieces = from_json(body) if length is None else from_binary(body, int(length))
    headers = [(b"content-length", str(sum(map(len, pieces))).encode())]
    if length is not None:
        headers.append((LENGTH, str(len(pieces[0])).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    *first, last = pieces
    for piece in first:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": last})


async def read(receive: Receive) -> bytes:
    """The whole body of a request."""
    message = await receive()
    if not message.get("more_body"):
        return bytes(message["body"])
    body = bytearray(message["body"])
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return bytes(body)


def from_json(body: bytes) -> list[bytes | memoryview]:
    """The reply to a request in JSON."""
    tensor = orjson.loads(body)["inputs"][0]
    y = NODE.transform(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
    return [head(y, {"data": y.ravel()})]


def from_binary(body: bytes, length: int) -> list[bytes | memoryview]:
    """The reply to a request whose tensor stands behind ``length`` bytes of JSON."""
    tensor = orjson.loads(body[:length])["inputs"][0]
    y = NODE.transform(np.frombuffer(body, np.float32, offset=length).reshape(tensor["shape"]))
    return [head(y, {"parameters": {"binary_data_size": y.nbytes}}), y.ravel().view(np.uint8).data]


def head(y: Floats, rest: dict[str, Any]) -> bytes:
    """The JSON of a reply."""
    reply = {"outputs": [{"name": "y", "datatype": "FP32", "shape": y.shape, **rest}]}
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


async def infer(request: Any, context: object) -> Any:
    """The reply to a ModelInferRequest with raw contents."""
    x = np.frombuffer(request.raw_input_contents[0], np.float32)
    y = NODE.transform(x.reshape(request.inputs[0].shape))
    reply = InferResponse(raw_output_contents=[y.tobytes()])
    reply.outputs.add(name="y", datatype="FP32", shape=y.shape)
    return reply


async def serve(port: int, folder: Path) -> None:
    """Answer until stopped."""
    method = grpc.unary_unary_rpc_method_handler(
        infer, InferRequest.FromString, InferResponse.SerializeToString
    )
    handler = grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": method})
    server = grpc.aio.server(handlers=(handler,), options=UNLIMITED)
    server.add_insecure_port(f"{HOST}:{noted(folder, free_port())}")
    await server.start()
    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    told = arguments()
    uvloop.run(serve(told.port, told.folder))
