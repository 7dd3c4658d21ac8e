"""A graph of one step behind a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
import uvloop

from anabranch.components.contract import Context, NodeFeedback
from anabranch.graph.plan.plan import Signature
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.inference.contract import Evaluated, Verdict
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import RequestLimits
from anabranch.router.signing import Signatures, SigningKey
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import Compare, InputSpec, ProtocolName, TensorSpec
from tests.clock import TimelessLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Step = Callable[[Mapping[str, Any], Context], Awaitable[dict[str, Any]]]

BODY = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}]
}


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a coroutine that waits for timers as if it took no time, however long they are."""
    loop = TimelessLoop()
    monkeypatch.setattr(time, "monotonic", loop.time)

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(main)

    return run


class StepHead:
    """A head whose whole graph is one coroutine function; copies of requests agree."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.asked: Sequence[str] | None = None
        self.seen: list[Context] = []
        self.takes_feedback = False
        self.rewards: list[NodeFeedback] = []
        self.why_not = ""
        """Why an output cannot be computed."""

    def obstacle(self) -> str:
        return self.why_not

    async def run(
        self, inputs: Mapping[str, Any], context: Context, outputs: Sequence[str] | None
    ) -> Evaluated:
        self.asked = outputs
        self.seen.append(context)
        return Evaluated(await self.step(inputs, context), 0.001, context.path)

    async def stream(
        self, inputs: Mapping[str, Any], context: Context, outputs: Sequence[str] | None
    ) -> AsyncGenerator[Evaluated, None]:
        self.asked = outputs
        self.seen.append(context)
        async with aclosing(streamed(self.step, inputs, context)) as results:
            async for found in results:
                yield Evaluated(found, 0.001, context.path)

    async def feedback(self, given: NodeFeedback) -> bool:
        self.rewards.append(given)
        return True

    async def only_streams(self) -> bool:
        return inspect.isasyncgenfunction(self.step)

    async def compare(
        self,
        inputs: Mapping[str, Any],
        context: Context,
        outputs: Sequence[str] | None,
        expected: Mapping[str, Any],
        rule: Compare,
    ) -> Verdict:
        found = await self.run(inputs, context, outputs)
        same = all(np.array_equal(found.outputs[name], expected[name]) for name in expected)
        return Verdict(same, same, found.seconds)


async def streamed(
    step: Step, inputs: Mapping[str, Any], context: Context
) -> AsyncGenerator[dict[str, Any], None]:
    """What a step yields, or its one result."""
    found: Any = step(inputs, context)
    if isinstance(found, AsyncGenerator):
        async with aclosing(found):
            async for result in found:
                yield result
    else:
        yield await found


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    x = inputs["x"]
    return {"doubled": x * 2, "rows": np.array(x.shape[0])}


async def forever(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


def make_signature(
    inputs: Mapping[str, tuple[str, tuple[int, ...]]] | None = None,
    timeout: float = 60.0,
    routers: Mapping[str, tuple[str, ...]] | None = None,
) -> Signature:
    types = {
        name: InputSpec(datatype=datatype, shape=shape)
        for name, (datatype, shape) in (inputs or {"x": ("FP32", (-1, 2))}).items()
    }
    outputs = {"doubled": TensorSpec(datatype="FP32", shape=(-1, 2)), "rows": None}
    return Signature(types, outputs, timeout, routers=routers or {})


def make_core(step: Step = double, **signature: Any) -> InferenceCore:
    return InferenceCore("demo", make_signature(**signature), StepHead(step), 3, RequestLimits())


KEYS = tuple(SigningKey(id, id.encode() * 16, time.time()) for id in ("k2", "k1"))
SIGNATURES = Signatures("demo", KEYS)


def make_table(
    weights: Mapping[int, float] | None = None, generation: int = 1, **fields: Any
) -> RoutingTable:
    """A table whose lowest arm is the stable one; all revisions have the same signature."""
    weights = weights or {3: 100.0}
    reached = {*weights, *fields.get("mirrors", ())}
    fields = {"revisions": dict.fromkeys(reached, make_signature()), "keys": KEYS, **fields}
    return RoutingTable("demo", generation, fields.pop("stable", min(weights)), weights, **fields)


def make_arms(
    step: Step = double,
    limits: RequestLimits | None = None,
    everywhere: Collection[ProtocolName] = (),
    **signature: Any,
) -> Arms:
    """A graph of one revision, 3."""
    limits = limits or RequestLimits()
    arms = Arms("demo", lambda revision: StepHead(step), limits, everywhere=everywhere)
    arms.apply(make_table(revisions={3: make_signature(**signature)}))
    return arms


class Demo:
    """A graph of several revisions, each one coroutine function, asked through ASGI."""

    def __init__(
        self,
        steps: Mapping[int, Step],
        limits: RequestLimits | None = None,
        draws: Sequence[float] = (),
    ) -> None:
        self.heads = {number: StepHead(step) for number, step in steps.items()}
        self.made: list[int] = []
        left = iter(draws)
        self.arms = Arms("demo", self._head, limits or RequestLimits(), lambda: next(left))
        self.app = GraphApp(self.arms)

    def _head(self, revision: int) -> StepHead:
        self.made.append(revision)
        return self.heads[revision]

    def apply(self, weights: Mapping[int, float], generation: int = 1, **fields: Any) -> None:
        self.arms.apply(make_table(weights, generation, **fields))

    signature = staticmethod(make_signature)
    table = staticmethod(make_table)

    async def ask(
        self,
        path: str = "/infer",
        body: Any = BODY,
        headers: Mapping[str, str] | None = None,
        gone: asyncio.Event | None = None,
    ) -> tuple[int, Any]:
        """Status and body; (0, None) where the client hung up, as it does after ``gone``."""
        sent: list[Any] = []
        received = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

        async def receive() -> Any:
            message = next(received, None)
            if message is None:
                await (gone or asyncio.Event()).wait()
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        method = "POST" if path.endswith("/infer") else "GET"
        scope = {"type": "http", "method": method, "path": f"/v2/models/demo{path}", "headers": raw}
        await self.app(scope, receive, send)
        return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else (0, None)

    async def versions(self, count: int, **asked: Any) -> list[int]:
        """The revisions that answer so many requests, one after the other."""
        answers = [await self.ask(**asked) for _ in range(count)]
        assert {status for status, _ in answers} == {200}, answers
        return [int(answer["model_version"]) for _, answer in answers]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application with uvicorn on a free loopback port; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        interface="asgi3",
        log_config=None,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=5,
    )
    server = _Uvicorn(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        thread.join()
        listener.close()


class _Uvicorn(uvicorn.Server):
    """Ends when it is told to; uvicorn's own looks ten times a second whether it was told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await asyncio.to_thread(self._ended.wait)


@contextmanager
def lean_serving(app: Any) -> Iterator[str]:
    """Serve likewise with the lean server."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with uvloop_running() as run:
        server = run(_listening(app, listener))
        try:
            yield url
        finally:
            run(server.close(5))


async def _listening(app: Any, listener: socket.socket) -> LeanServer:
    server = LeanServer(app)
    await server.listen(listener)
    return server


@contextmanager
def uvloop_running() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A loop in a thread of its own; yields what runs a coroutine there and waits for it."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


SERVERS = {"uvicorn": serving, "lean": lean_serving}


Serving = Callable[[Any], AbstractContextManager[str]]


@pytest.fixture(scope="module", params=["lean", pytest.param("uvicorn", marks=pytest.mark.nightly)])
def server(request: pytest.FixtureRequest) -> Serving:
    """Each server in turn, by day the engine's own: serves an application within a ``with``."""
    return SERVERS[request.param]


@pytest.fixture
def body() -> dict[str, Any]:
    return {"inputs": [dict(tensor) for tensor in BODY["inputs"]]}


@pytest.fixture
def core() -> Callable[..., InferenceCore]:
    return make_core


@pytest.fixture(scope="session")
def demo() -> type[Demo]:
    return Demo


@pytest.fixture
def arms() -> Callable[..., Arms]:
    return make_arms


@pytest.fixture
def serve(server: Serving) -> Iterator[Callable[[Any], str]]:
    """Serve applications until the test ends, with each server."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(server(app))


@pytest.fixture
def graph(serve: Callable[[Any], str]) -> Callable[..., str]:
    """Serve a graph; returns the address of its model."""
    return lambda *args, **kwargs: f"{serve(GraphApp(make_arms(*args, **kwargs)))}/v2/models/demo"
