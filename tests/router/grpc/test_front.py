"""The front before real routers, and before ones that die, hang and are slow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anabranch.components.contract import Context
from anabranch.errors import Unavailable
from anabranch.router import following
from anabranch.router.backend import GraphState
from anabranch.router.errors import HttpReply
from anabranch.router.grpc import front, pool
from anabranch.router.grpc.messages import path, request_type
from anabranch.router.grpc.servers import FrontServer, RouterServer
from anabranch.router.http.headers import CLIENT_ADDRESS, CLIENT_NAME
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry import tracing
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import REGISTRY
from anabranch.telemetry.tracing import Traces
from tests.nodes import EngineCertificates
from tests.router.conftest import StepHead, make_table
from tests.router.grpc.conftest import (
    FakeControl,
    Stub,
    connected,
    failure,
    fronted,
    fronting,
    infer_request,
    router,
    trailer,
)
from tests.serve.edge import http2
from tests.waiting import eventually

Step = Callable[[Mapping[str, Any], Context], Any]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routers on a busy machine are connected late, which no test here is about."""
    monkeypatch.setattr(pool, "CONNECT_S", 60.0)
    for options in (pool._OPTIONS, pool._FAR):
        monkeypatch.setitem(options, "grpc.min_reconnect_backoff_ms", 60_000)


def times(factor: int) -> Step:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"doubled": inputs["x"] * factor, "rows": np.array(1)}

    return step


class Gated:
    """A step that waits until it is let go; counts who came and who was cancelled."""

    def __init__(self) -> None:
        self.come = 0
        self.cancelled: asyncio.Queue[None] = asyncio.Queue()
        self.go = asyncio.Event()
        self.changed = asyncio.Condition()

    async def __call__(self, inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        async with self.changed:
            self.come += 1
            self.changed.notify_all()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(None)
            raise
        return {"doubled": inputs["x"], "rows": np.array(1)}

    async def until_come(self, count: int) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: self.come >= count)

    async def until_cancelled(self) -> None:
        async with asyncio.timeout(30):
            await self.cancelled.get()


def arms_of(step: Step, name: str = "demo", limits: RequestLimits | None = None) -> Arms:
    found = Arms(name, lambda revision: StepHead(step), limits or RequestLimits())
    found.apply(replace(make_table(), graph=name))
    return found


class Line:
    """A TCP line to a router that can be cut, as if the router's process was killed."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close the port and reset all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        host, port = self._target.split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_copied(reader, far_writer), _copied(far_reader, writer))
        except asyncio.CancelledError:
            pass  # Streams would log it.
        finally:
            writer.transport.abort()
            far_writer.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def graph(
    step: Step, name: str = "demo", limits: RequestLimits | None = None
) -> AsyncIterator[tuple[FakeControl, Stub]]:
    """One graph with one router behind a front."""
    control = FakeControl()
    async with router(arms_of(step, name, limits)) as one, fronted(control) as stub:
        await control.know(**{name: (one.far,)})
        yield control, stub


def state(ready: bool = True, reason: str = "", live: bool = True) -> GraphState:
    return {"revision": 1, "live": live, "ready": ready, "reason": reason}


async def value(call: Any) -> float:
    answer = await call
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


def unused() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_graph_is_found_by_the_name_in_the_message() -> None:
    async def main() -> None:
        control = FakeControl()
        async with (
            router(arms_of(times(2), "two")) as two,
            router(arms_of(times(3), "three")) as three,
            fronted(control) as stub,
        ):
            await control.know(two=(two.far,), three=(three.far,))
            assert await value(stub("ModelInfer", infer_request("two"))) == 2
            assert await value(stub("ModelInfer", infer_request("three"))) == 3
            assert (await stub("ModelMetadata", name="three")).name == "three"
            assert (await stub("ModelReady", name="two", version="3")).ready

    asyncio.run(main())


def test_a_graph_that_is_not_there_is_named_with_those_that_are() -> None:
    async def main() -> None:
        control = FakeControl()
        control.states = {"digits": state(), "coming": state(False, "it starts")}
        async with fronted(control) as stub:
            error = await failure(stub("ModelInfer", infer_request("digit")))
            assert error.code() is StatusCode.NOT_FOUND
            assert "did you mean 'digits'? available: coming, digits" in error.details()
            error = await failure(stub("ModelInfer", infer_request("coming")))
            assert error.code() is StatusCode.UNAVAILABLE
            assert "graph 'coming' cannot answer now: it starts" in error.details()
            assert trailer(error)["retry-after"] == "1"
            assert not (await stub("ModelReady", name="coming")).ready
            control.states = Unavailable("the controller is restarting", 2)
            error = await failure(stub("ModelInfer", infer_request("digit")))
            assert error.code() is StatusCode.UNAVAILABLE
            assert trailer(error)["retry-after"] == "2"

    asyncio.run(main())


@pytest.mark.parametrize("noise", [b"\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x0b"])
def test_noise_is_refused_here(noise: bytes) -> None:
    async def main() -> None:
        async with graph(times(1)) as (_, stub):
            error = await failure(stub.raw("ModelInfer", noise))
            assert error.code() is StatusCode.INVALID_ARGUMENT
            error = await failure(stub.raw("RepositoryIndex", noise))
            assert error.code() is StatusCode.INVALID_ARGUMENT

    asyncio.run(main())


def test_what_a_router_says_comes_through_as_it_is() -> None:
    async def main() -> None:
        async with graph(times(1), limits=RequestLimits(max_ongoing=0)) as (_, stub):
            metadata = (("x-request-id", "mine"),)
            error = await failure(stub("ModelInfer", infer_request(), metadata=metadata))
            assert error.code() is StatusCode.UNAVAILABLE
            assert "the most that this replica takes" in error.details()
            assert trailer(error)["retry-after"] == "1"
            assert trailer(error)["x-request-id"] == "mine"
            error = await failure(stub("ModelReady", name="demo", version="9"))
            assert error.code() is StatusCode.NOT_FOUND

    asyncio.run(main())


def test_the_end_of_a_call_tells_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "TRACES", Traces({}))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    asked = (("traceparent", f"00-{trace}-00f067aa0ba902b7-01"), ("tracestate", "anabranch=show"))

    async def main() -> None:
        async with graph(times(1)) as (_, stub):
            call = stub("ModelInfer", infer_request(), metadata=asked)
            told = dict(await call.trailing_metadata())["traceresponse"]
            assert told.startswith(f"00-{trace}-") and told != asked[0][1]
            error = await failure(stub("ModelInfer", infer_request(version="9"), metadata=asked))
            assert trailer(error)["traceresponse"].startswith(f"00-{trace}-")
            call = stub("ModelInfer", infer_request())
            assert "traceresponse" not in dict(await call.trailing_metadata())

    asyncio.run(main())
    tracing.TRACES.close()


def test_metadata_and_the_deadline_travel_on() -> None:
    seen: list[Context] = []

    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        seen.append(context)
        return {"doubled": inputs["x"], "rows": np.array(1)}

    async def main() -> None:
        async with graph(step) as (_, stub):
            metadata = (
                *(("x-request-id", "mine"), ("traceparent", "00-1-2-03"), ("x-user", "u")),
                ("blob-bin", b"\0"),
            )
            call = stub("ModelInfer", infer_request(), metadata=metadata, timeout=600)
            await call
            assert dict(await call.trailing_metadata())["x-request-id"] == "mine"
        (context,) = seen
        assert context.id == "mine"
        assert context.headers["traceparent"] == "00-1-2-03"
        assert context.headers["x-user"] == "u"
        # gRPC rounds times of this length up to whole seconds: to the front, and to the router.
        assert 540e6 < context.parameters["timeout"] < 602.1e6

    asyncio.run(main())


def test_cancelling_and_deadlines_reach_the_router() -> None:
    async def main() -> None:
        step = Gated()
        async with graph(step) as (_, stub):
            call = stub("ModelInfer", infer_request())
            await step.until_come(1)
            call.cancel()
            await step.until_cancelled()
            seconds = 0.3
            while step.come < 2:  # a busy machine may not come so far in that time
                error = await failure(stub("ModelInfer", infer_request(), timeout=seconds))
                assert error.code() is StatusCode.DEADLINE_EXCEEDED
                seconds *= 2
            await step.until_cancelled()
            stream = stub.stream([infer_request()])
            await step.until_come(3)
            stream.cancel()
            await step.until_cancelled()

    asyncio.run(main())


def test_routers_take_turns() -> None:
    async def main() -> None:
        control = FakeControl()
        async with (
            router(arms_of(times(1))) as one,
            router(arms_of(times(2))) as two,
            fronted(control) as stub,
        ):
            await control.know(demo=(one.far, two.far))
            await asyncio.gather(*(stub("ModelInfer", infer_request()) for _ in range(20)))
            found = [await value(stub("ModelInfer", infer_request())) for _ in range(10)]
        assert found.count(1) == 5 and found.count(2) == 5

    asyncio.run(main())


def test_a_router_that_dies_fails_its_calls_at_once_and_gets_no_more() -> None:
    async def main() -> None:
        control, step = FakeControl(), Gated()
        async with (
            router(arms_of(step)) as one,
            Line(one.far) as way,
            router(arms_of(times(2))) as two,
            fronted(control) as stub,
        ):
            await control.know(demo=(way.address,))
            call = asyncio.ensure_future(failure(stub("ModelInfer", infer_request())))
            stream = stub.stream([infer_request(id="s")])
            await step.until_come(2)
            await control.know(demo=(way.address, two.far))
            way.cut()
            error = await call
            assert error.code() is StatusCode.UNAVAILABLE
            assert error.details() == "the router ended before it answered; try again"
            told = await stream.read()
            assert told.error_message == error.details()
            assert told.infer_response.id == "s"
            # Neither has been answered, nor will it be.
            assert not step.go.is_set()
            for _ in range(20):
                assert await value(stub("ModelInfer", infer_request())) == 2

    asyncio.run(main())


def test_without_a_router_that_can_be_reached_calls_fail_soon() -> None:
    async def main() -> None:
        control = FakeControl()
        async with fronted(control) as stub:
            await control.know(demo=(unused(),))
            error = await failure(stub("ModelInfer", infer_request()))
        assert error.code() is StatusCode.UNAVAILABLE
        assert "no router of graph 'demo' can be reached" in error.details()
        assert "retry-after" in trailer(error)

    asyncio.run(main())


def test_a_router_that_takes_connections_and_says_nothing_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 1.0)

    async def main(silent: str) -> None:
        control = FakeControl()
        async with router(arms_of(times(2))) as good, fronted(control) as stub:
            await control.know(demo=(good.far,))
            assert await value(stub("ModelInfer", infer_request())) == 2
            await control.know(demo=(silent, good.far))
            for _ in range(10):
                assert await value(stub("ModelInfer", infer_request())) == 2
            await control.know(demo=(silent,))
            error = await failure(stub("ModelInfer", infer_request()))
            assert error.code() is StatusCode.UNAVAILABLE

    with socket.create_server(("127.0.0.1", 0)) as server:
        asyncio.run(main(f"127.0.0.1:{server.getsockname()[1]}"))


def test_a_router_that_leaves_ends_its_calls_first() -> None:
    async def main() -> None:
        control, step = FakeControl(), Gated()
        async with (
            router(arms_of(step)) as old,
            router(arms_of(times(2))) as new,
            fronted(control) as stub,
        ):
            await control.know(demo=(old.far,))
            call = asyncio.ensure_future(value(stub("ModelInfer", infer_request())))
            await step.until_come(1)
            await control.know(demo=(new.far,))
            assert await value(stub("ModelInfer", infer_request())) == 2
            step.go.set()
            assert await call == 1

    asyncio.run(main())


def test_a_controller_that_starts_anew_takes_no_router_away() -> None:
    async def main() -> None:
        async with graph(times(2)) as (control, stub):
            assert await value(stub("ModelInfer", infer_request())) == 2  # now it is connected
            await control.know(demo=())
            assert await value(stub("ModelInfer", infer_request())) == 2
            assert control.woken == []
            await control.know()
            error = await failure(stub("ModelInfer", infer_request()))
            assert error.code() is StatusCode.NOT_FOUND

    asyncio.run(main())


def test_a_graph_that_sleeps_is_woken_by_a_call_and_not_by_a_question() -> None:
    async def main() -> None:
        control = FakeControl()
        control.states = {"demo": state()}
        async with router(arms_of(times(2))) as one, fronted(control) as stub:
            await control.know(demo=())

            async def wake(name: str) -> None:
                control.put(demo=(one.far,))

            assert (await stub("ModelReady", name="demo")).ready
            assert control.woken == []
            error = await failure(stub("ModelInfer", infer_request()))
            assert "cannot be woken" in error.details()
            control.on_wake = wake
            assert await value(stub("ModelInfer", infer_request())) == 2
            assert control.woken == ["demo", "demo"]

    asyncio.run(main())


def test_a_stream_goes_to_several_graphs_and_answers_in_order() -> None:
    async def main() -> None:
        control, step = FakeControl(), Gated()
        control.states = {"two": state()}
        async with (
            router(arms_of(times(2), "two")) as two,
            router(arms_of(step, "slow")) as slow,
            fronted(control) as stub,
        ):
            await control.know(two=(two.far,), slow=(slow.far,))
            names = ["slow", "two", "none", "two"]
            asked = [infer_request(name, id=str(i)) for i, name in enumerate(names)]
            stream = stub.stream(asked)
            await step.until_come(1)
            step.go.set()
            found = [answer async for answer in stream]
        assert [answer.infer_response.id for answer in found] == ["0", "1", "2", "3"]
        assert [answer.infer_response.model_name for answer in found] == names
        assert "there is no graph 'none'" in found[2].error_message
        assert not found[3].error_message

    asyncio.run(main())


def test_so_many_requests_of_a_stream_are_in_progress_and_no_more() -> None:
    async def main() -> None:
        step = Gated()
        async with graph(step) as (_, stub):
            stream = stub.stream([infer_request(id=str(i)) for i in range(40)])
            await step.until_come(front._PIPELINED)
            await asyncio.sleep(0.2)
            assert step.come <= front._PIPELINED + 2
            step.go.set()
            found = [answer.infer_response.id async for answer in stream]
        assert found == [str(i) for i in range(40)]

    asyncio.run(main())


def test_messages_over_the_limit_end_at_the_front() -> None:
    async def main() -> None:
        control = FakeControl()
        limits = RequestLimits(max_body=1000)
        async with router(arms_of(times(1))) as one, fronted(control, limits) as stub:
            await control.know(demo=(one.far,))
            large = infer_request(x=np.zeros((200, 2), np.float32))
            for call in (stub("ModelInfer", large), stub.stream([large]).read()):
                assert (await failure(call)).code() is StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_answers_may_be_large() -> None:
    async def main() -> None:
        async with graph(times(2)) as (_, stub):
            large = infer_request(x=np.ones((2**20, 2), np.float32))
            answer = await stub("ModelInfer", large)
            assert len(answer.raw_output_contents[0]) == 2**23

    asyncio.run(main())


def test_the_front_lets_so_many_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MAX_CALLS", 1)

    async def main() -> None:
        step = Gated()
        async with graph(step) as (_, stub):
            call = asyncio.ensure_future(value(stub("ModelInfer", infer_request())))
            await step.until_come(1)
            error = await failure(stub("ModelInfer", infer_request()))
            assert error.code() is StatusCode.UNAVAILABLE
            step.go.set()
            assert await call == 1

    asyncio.run(main())


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_an_answer_counts_until_its_client_has_gone(method: str) -> None:
    async def large(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"doubled": np.ones((2**20, 2), np.float32), "rows": np.array(1)}

    async def main() -> None:
        control = FakeControl()
        async with router(arms_of(large)) as one, fronting(control) as (server, port):
            messages = server._front.messages
            await control.know(demo=(one.far,))

            async def is_held() -> bool:
                return messages.held >= 2**24

            async with http2.connected(port) as client:
                client.ask(infer_request().SerializeToString(), method)
                await eventually(is_held)

            await eventually(lambda: messages.held == 0)

    asyncio.run(main())


def test_an_address_may_have_half_of_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MAX_CALLS", 4)

    async def main() -> None:
        async with graph(times(2)) as (_, stub):
            streams = [stub.stream() for _ in range(2)]
            for stream in streams:
                await stream.write(infer_request())
                await stream.read()
            more = stub.stream()
            error = await failure(more.read())
            assert error.code() is StatusCode.UNAVAILABLE
            assert "2 requests are in progress, the most that may stream from one address" in str(
                error.details()
            )
            for stream in streams:
                await stream.done_writing()
                assert await stream.code() is StatusCode.OK
            again = stub.stream([infer_request()])
            assert len([answer async for answer in again]) == 1

    asyncio.run(main())


def test_what_belongs_to_no_graph() -> None:
    async def main() -> None:
        control = FakeControl(told=False)
        control.states = {"a": state(), "b": state(False, "it starts", live=False)}
        async with fronted(control) as stub:
            assert (await stub("ServerLive")).live
            assert (await stub("ServerReady")).ready
            server = await stub("ServerMetadata")
            assert server.name == "anabranch" and server.version and server.extensions
            models = (await stub("RepositoryIndex")).models
            found = [(m.name, m.version, m.state, m.reason) for m in models]
            assert found == [("a", "1", "READY", ""), ("b", "1", "UNAVAILABLE", "it starts")]
            models = (await stub("RepositoryIndex", ready=True)).models
            assert [model.name for model in models] == ["a"]
            control.states = {"a": state(False, "it is ill")}
            assert not (await stub("ServerReady")).ready
            control.states = Unavailable("away")
            error = await failure(stub("ServerReady"))
            assert error.code() is StatusCode.UNAVAILABLE
            assert (await stub("ServerLive")).live
            await control.know()
            assert (await stub("ServerReady")).ready  # what knows its routers goes on

    asyncio.run(main())


def test_a_front_that_has_just_started_waits_for_the_first_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "FIRST_S", 30.0)

    async def main() -> None:
        control = FakeControl(told=False)
        control.states = {"demo": state()}
        async with router(arms_of(times(2))) as one, fronted(control) as stub:
            asking = asyncio.ensure_future(value(stub("ModelInfer", infer_request())))
            await asyncio.wait({asking}, timeout=0.05)
            await control.know(demo=(one.far,))
            assert await asking == 2

    asyncio.run(main())


def test_without_any_addresses_a_front_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "FIRST_S", 0.01)

    async def main() -> None:
        control = FakeControl(told=False)
        control.states = {"demo": state()}
        async with fronted(control) as stub:
            error = await failure(stub("ModelInfer", infer_request()))
            assert error.code() is StatusCode.UNAVAILABLE
            assert "it has no router yet" in error.details()

    asyncio.run(main())


def test_health_of_each_graph() -> None:
    async def main() -> None:
        async with graph(times(2)) as (control, stub):
            check = health_pb2_grpc.HealthStub(stub.channel).Check

            async def status(service: str) -> int:
                found = await check(health_pb2.HealthCheckRequest(service=service))
                return int(found.status)

            kind = health_pb2.HealthCheckResponse
            assert await status("") == await status("demo") == kind.SERVING
            await control.know(other=())
            assert await status("demo") == kind.SERVICE_UNKNOWN
            assert await status("other") == kind.SERVING

    asyncio.run(main())


def test_while_the_controller_is_away_addresses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.0)

    async def main() -> None:
        async with graph(times(2)) as (control, stub):
            polling, asked = control.poll, asyncio.Semaphore(0)

            async def away(version: int) -> Any:
                asked.release()
                await asyncio.sleep(0)
                raise ConnectionError("away")

            control.poll = away
            control.put(demo=(unused(),))  # ends the poll that is under way
            for _ in range(3):
                await asked.acquire()
            control.put(demo=())
            assert (await stub("ModelReady", name="demo")).ready is False
            control.poll = polling
            await control.know(other=())
            error = await failure(stub("ModelReady", name="demo"))
            assert error.code() is StatusCode.NOT_FOUND

    asyncio.run(main())


TOKEN = (("authorization", "Bearer secret"),)


@pytest.mark.parametrize("field", ["model_name", "repository_name"])
def test_graphs_are_loaded_and_unloaded_with_the_token(field: str) -> None:
    async def main() -> None:
        control = FakeControl()
        control.states = {"demo": state()}
        name = {field: "demo"}
        async with fronted(control) as stub:
            for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
                error = await failure(stub(method, **name))
                assert error.code() is StatusCode.UNAUTHENTICATED
                assert "takes a key with the role operator or admin" in (error.details() or "")
            assert control.handled == []
            found = await stub("RepositoryModelLoad", metadata=TOKEN, **name)
            assert (found.model_name, found.isLoaded) == ("demo", True)
            found = await stub("RepositoryModelUnload", metadata=TOKEN, **name)
            assert (found.model_name, found.isUnloaded) == ("demo", True)
            assert control.handled == [("POST", f"/graphs/demo/{a}") for a in ("load", "unload")]

    asyncio.run(main())


def test_refused_calls_are_counted() -> None:
    cell = REGISTRY.number(ACCESS_REFUSED, "grpc", "unauthenticated")
    before = cell.value
    wrong = (("authorization", "Bearer wrong"),)

    async def main() -> None:
        async with fronted(FakeControl()) as stub:
            await failure(stub("RepositoryIndex", metadata=wrong))
            await failure(stub("RepositoryModelLoad", model_name="demo", metadata=wrong))
            await failure(stub("ModelReady", name="demo"))  # which is not there

    asyncio.run(main())
    assert cell.value == before + 2


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, StatusCode.NOT_FOUND),
        (409, StatusCode.FAILED_PRECONDITION),
        (500, StatusCode.INTERNAL),
    ],
)
def test_what_the_control_api_says_against_it_is_told(status: int, code: StatusCode) -> None:
    async def main() -> None:
        control = FakeControl()
        control.answer = HttpReply(status, b'{"error": "so it is"}')
        async with fronted(control) as stub:
            call = stub("RepositoryModelLoad", model_name="../x", metadata=TOKEN)
            error = await failure(call)
            assert (error.code(), error.details()) == (code, "so it is")
            assert "x-request-id" in trailer(error)
            assert control.handled == [("POST", "/graphs/../x/load")]
            asked = request_type("RepositoryModelLoad")(model_name="demo")
            asked.parameters["config"].string_param = "{}"
            error = await failure(stub("RepositoryModelLoad", asked, metadata=TOKEN))
            assert "parameter 'config' is not supported" in error.details()

    asyncio.run(main())


def test_a_call_without_a_message_ends_at_once() -> None:
    async def main() -> None:
        async with fronted(FakeControl()) as stub:
            error = await failure(stub.channel.stream_unary(path("ModelInfer"))(iter(())))
            assert error.code() is StatusCode.INTERNAL
            assert trailer(error).keys() == {"x-request-id"}

    asyncio.run(main())


@pytest.mark.parametrize("door", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_who_the_client_is_comes_by_unix_sockets_only(
    tmp_path: Path, door: bool, behind: bool
) -> None:
    """``door`` and ``behind``: whether the front and the router listen on a Unix socket."""
    told: list[Mapping[str, str]] = []

    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        told.append(context.headers)
        return {"doubled": inputs["x"], "rows": np.array(1)}

    async def main() -> None:
        server = RouterServer(arms_of(step))
        control = FakeControl()
        fronting = FrontServer(control, RequestLimits())
        if behind:
            await server.start(tmp_path / "router.sock", None)
        else:
            await server.start(None, "127.0.0.1")
        if door:
            await fronting.start_unix(tmp_path / "front.sock")
            address = f"unix:{tmp_path / 'front.sock'}"
        else:
            address = f"127.0.0.1:{await fronting.start('127.0.0.1', 0)}"
        await control.know(demo=(server.near or server.far,))
        metadata = ((CLIENT_NAME, "ann"), (CLIENT_ADDRESS, "10.0.0.1"), ("x-other", "1"))
        async with connected(address) as stub:
            await stub("ModelInfer", infer_request(), metadata=metadata)
        await fronting.stop(0)
        await server.stop(0)

    asyncio.run(main())
    assert not list(tmp_path.glob("router*"))
    assert told[0]["x-other"] == "1"
    names = {name for name in told[0] if name.startswith("anabranch-")}
    assert names == ({CLIENT_NAME, CLIENT_ADDRESS} if door and behind else set())


@pytest.mark.parametrize("engine", ["own", "other"])
def test_fronts_reach_routers_on_other_nodes_with_the_engines_certificates_and_are_believed(
    engine: str,
    certificates: EngineCertificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 2.0)
    told: list[Mapping[str, str]] = []

    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        told.append(context.headers)
        return {"doubled": inputs["x"], "rows": np.array(1)}

    async def main() -> None:
        certificates.use(engine)
        async with router(arms_of(step)) as one:
            certificates.use()
            control = FakeControl()
            fronting = FrontServer(control, RequestLimits())
            await fronting.start_unix(tmp_path / "front.sock")
            await control.know(demo=(one.far,))
            async with connected(f"unix:{tmp_path}/front.sock") as stub:
                call = stub("ModelInfer", infer_request(), metadata=((CLIENT_NAME, "ann"),))
                if engine == "own":
                    await call
                else:
                    error = await failure(call)
                    assert error.code() is StatusCode.UNAVAILABLE
            async with connected(one.far) as stub:
                error = await failure(stub("ModelInfer", infer_request()))
                assert error.code() is StatusCode.UNAVAILABLE
            await fronting.stop(0)

    asyncio.run(main())
    assert [one[CLIENT_NAME] for one in told] == (["ann"] if engine == "own" else [])
