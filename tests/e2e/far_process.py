"""A process of another node without Ray: ``python -m tests.e2e.far_process``.

It answers calls, HTTP and gRPC at the ports CALLS, HTTP and GRPC of all interfaces, with the
certificates that it is given. What is asked to wait waits for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import uvloop

from anabranch.router.between_nodes import CALLED_MS, probe, server_tls
from anabranch.router.grpc.server import GrpcServer, node_credentials
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import HttpRequest
from anabranch.router.limits import RequestLimits
from anabranch.serve.sockets import tcp_listener
from anabranch.serve.streams.server import CallServer
from tests.router.grpc.test_front import arms_of
from tests.serve.streams.ends import SECRET

CALLS, HTTP, GRPC = 40191, 40192, 40193


_begun: list[None] = []


async def wait(*args: Any) -> None:
    """Wait for ever."""
    _begun.append(None)
    await asyncio.Event().wait()


async def begun() -> int:
    """Return how many wait, or have."""
    return len(_begun)


async def echo(*args: Any) -> list[Any]:
    """Return what was given."""
    return list(args)


async def answer(request: HttpRequest) -> Any:
    """Answer with this node's name, unless asked to wait."""
    if request.headers.get("x-wait"):
        await wait()
    return json_reply("far")


async def step(inputs: Any, context: Any) -> dict[str, Any]:
    """Wait if the header says so."""
    if context.headers.get("x-wait"):
        await wait()
    return {"doubled": inputs["x"] * 2, "rows": np.array(1)}


async def main() -> None:
    """Serve until the end of the machine."""
    calls = CallServer({"begun": begun, "echo": echo, "wait": wait}, {}, SECRET)
    await calls.listen(_listener(CALLS), server_tls())
    await LeanServer(HttpApp(answer)).listen(_listener(HTTP), server_tls())
    grpc = GrpcServer([GraphServicer(arms_of(step)).handlers()], RequestLimits(), 1000)
    grpc.bind("0.0.0.0", GRPC, node_credentials())
    await grpc.start()
    print('"listens"', flush=True)
    await asyncio.Event().wait()


def _listener(port: int) -> Any:
    listener = tcp_listener("0.0.0.0", port)
    probe(listener, CALLED_MS)
    return listener


if __name__ == "__main__":
    uvloop.run(main())
