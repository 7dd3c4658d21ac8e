"""A graph of one step behind a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn

from anabranch.components.contract import Context
from anabranch.graph.plan import Plan, Ref, Segment
from anabranch.router.asgi import GraphApp
from anabranch.router.core import InferenceCore
from anabranch.router.limits import Limits
from anabranch.specs.models import TensorSpec

Step = Callable[[Mapping[str, Any], Context], Awaitable[dict[str, Any]]]

BODY = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}]
}


class StepExecutor:
    """An executor whose whole graph is one coroutine function."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.asked: Sequence[str] | None = None

    async def run(
        self, inputs: Mapping[str, Any], context: Context, outputs: Sequence[str] | None
    ) -> dict[str, Any]:
        self.asked = outputs
        return await self.step(inputs, context)


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    x = inputs["x"]
    return {"doubled": x * 2, "rows": np.array(x.shape[0])}


def make_core(
    step: Step = double,
    limits: Limits | None = None,
    inputs: Mapping[str, tuple[str, tuple[int, ...]]] | None = None,
    timeout: float = 60.0,
) -> InferenceCore:
    types = {
        name: TensorSpec(datatype=datatype, shape=shape)
        for name, (datatype, shape) in (inputs or {"x": ("FP32", (-1, 2))}).items()
    }
    plan = Plan(
        name="demo",
        inputs=types,
        nodes={},
        outputs={"doubled": Ref("double", None), "rows": Ref("count", None)},
        output_types={"doubled": TensorSpec(datatype="FP32", shape=(-1, 2)), "rows": None},
        segments=(Segment("head", ()),),
        critical_path_hops=0,
        timeout=timeout,
    )
    return InferenceCore(plan, StepExecutor(step), limits or Limits(), revision=3)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free loopback port; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def body() -> dict[str, Any]:
    return {"inputs": [dict(tensor) for tensor in BODY["inputs"]]}


@pytest.fixture
def core() -> Callable[..., InferenceCore]:
    return make_core


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serve applications until the test ends."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def graph(serve: Callable[[Any], str]) -> Callable[..., str]:
    """Serve a graph; returns the address of its model."""
    return lambda *args, **kwargs: f"{serve(GraphApp(make_core(*args, **kwargs)))}/v2/models/demo"
