"""What a person writes by hand instead of using a framework: one ASGI application, nothing checked.

Speaks just enough of the Open Inference Protocol for one FP32 input and one FP32 output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import orjson
from components import Floats, evaluate

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def decode(body: bytes) -> Floats:
    """The one tensor of a request."""
    tensor = orjson.loads(body)["inputs"][0]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


def encode(y: Floats) -> bytes:
    """A reply with the one tensor ``y``."""
    tensor = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel()}
    reply = {"model_name": "five", "outputs": [tensor]}
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


async def read(receive: Receive) -> bytes:
    """The whole body of a request."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def reply(send: Send, body: bytes) -> None:
    """Send ``body`` as JSON."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    """ASGI's start and stop, with nothing to do."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


class App:
    """The graph as an ASGI application; ``evaluate`` does the maths."""

    def __init__(self, evaluate: Callable[[Floats], Awaitable[Floats]]) -> None:
        self._evaluate = evaluate

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            x = decode(await read(receive))
            await reply(send, encode(await self._evaluate(x)))


async def in_process(x: Floats) -> Floats:
    """All five nodes, here and now."""
    return evaluate(x)
