"""Calls of gRPC's own clients through the edge: to lean sockets, and past them to the front."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anabranch.router.grpc.messages import InferRequest, StreamResponse, path
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.serve.edge import configuration, grpc_frontend
from anabranch.serve.edge.routes import EdgeRoute
from tests.router.conftest import StepHead, double, make_arms, make_signature, make_table
from tests.router.grpc.conftest import Stub, failure, infer_request, trailer
from tests.router.grpc.test_servicer import Hanging
from tests.serve.edge import http2
from tests.serve.edge.routers import FakeRouter, grpc_edge, served_graphs
from tests.serve.edge.servers import needs_haproxy, route
from tests.waiting import eventually

pytestmark = needs_haproxy
METHOD = path("ModelInfer")


async def ask(stub: Stub, graph: str = "a", size: int = 0, **options: Any) -> str:
    """The name of the router that answers."""
    message = infer_request(name=graph, id="i" * size).SerializeToString()
    call = stub.channel.unary_unary(METHOD)(message, **{"timeout": 30, **options})
    answer: bytes = await call
    return answer.decode()


def test_any_number_of_graphs_by_the_name_in_the_message() -> None:
    async def main() -> None:
        async with grpc_edge() as at, AsyncExitStack() as stack:
            names = [f"graph-{number}" for number in range(6)]
            routers = [
                await stack.enter_async_context(FakeRouter(at.site.folder, name)) for name in names
            ]
            await at.route(**{one.name: route(one) for one in routers})
            for _ in range(2):
                assert [await ask(at.stub, name) for name in names] == names
            assert (await failure(ask(at.stub, "graph"))).code() is StatusCode.NOT_FOUND
            assert {line for one in routers for line in one.seen} == {f"POST {METHOD} HTTP/1.1"}
            await at.route(**{names[0]: route(routers[1])})
            assert await ask(at.stub, names[0]) == names[1]
            assert (await failure(ask(at.stub, names[1]))).code() is StatusCode.NOT_FOUND

    asyncio.run(main())


def test_calls_of_one_connection_are_spread_over_the_routers() -> None:
    async def main() -> None:
        async with (
            grpc_edge() as at,
            FakeRouter(at.site.folder, "r1", "wait") as one,
            FakeRouter(at.site.folder, "r2", "wait") as two,
        ):
            await at.route(a=route(one, two))
            asked = [asyncio.create_task(ask(at.stub)) for _ in range(20)]

            await eventually(lambda: len(one.seen) + len(two.seen) == 20)
            one.go.set()
            two.go.set()
            assert Counter(await asyncio.gather(*asked)) == {"r1": 10, "r2": 10}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("behaviour", "first"),
    [("refuse", True), ("hang up", True), ("hang up", False)],
)
def test_a_call_that_may_be_evaluated_again_outlives_its_router(
    behaviour: str, first: bool
) -> None:
    async def main() -> None:
        async with (
            grpc_edge() as at,
            FakeRouter(at.site.folder, "good") as good,
            FakeRouter(at.site.folder, "bad") as bad,
        ):
            await at.route(a=route(bad, good, idempotent=True))
            while not first and not bad.seen:
                await ask(at.stub)
            bad.behaviour = behaviour
            assert {await ask(at.stub) for _ in range(8)} == {"good"}

    asyncio.run(main())


@pytest.mark.parametrize("first", [True, False], ids=["new connection", "old connection"])
def test_a_call_that_may_be_evaluated_once_is_sent_once(first: bool) -> None:
    async def main() -> None:
        async with grpc_edge() as at, FakeRouter(at.site.folder, "r") as router:
            await at.route(a=route(router))
            if not first:
                await ask(at.stub)
                router.seen.clear()
            router.behaviour = "begin"
            error = await failure(ask(at.stub))
            assert error.code() is StatusCode.UNAVAILABLE
            assert error.details() == "the router ended before it answered; try again"
            assert len(router.seen) == 1

    asyncio.run(main())


def test_a_router_that_has_gone_costs_nothing() -> None:
    async def main() -> None:
        async with grpc_edge() as at, FakeRouter(at.site.folder, "good") as good:
            await at.route(a=route(FakeRouter(at.site.folder, "gone"), good))
            assert {await ask(at.stub) for _ in range(6)} == {"good"}

    asyncio.run(main())


@pytest.mark.slow
def test_no_router_and_no_front_is_a_status_that_says_when_to_try_again() -> None:
    async def main() -> None:
        async with grpc_edge() as at:
            await at.route(a=route(FakeRouter(at.site.folder, "gone")))
            error = await failure(ask(at.stub))
            assert error.code() is StatusCode.UNAVAILABLE
            assert trailer(error)["retry-after"] == "1"

    asyncio.run(main())


@pytest.mark.parametrize("floats", [4, 15_000, 50_000, 1_250_000])
def test_large_messages_take_the_same_way(floats: int) -> None:
    async def main() -> None:
        x = np.arange(floats, dtype=np.float32).reshape(-1, 2)
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            answer = await at.stub("ModelInfer", infer_request(x=x))
            found = np.frombuffer(answer.raw_output_contents[0], np.float32)
            assert np.array_equal(found, x.ravel() * 2)
            assert routers["demo"].seen == [METHOD]

    asyncio.run(main())


def packings() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Ways to pack a message, each with its coding: stored, by fixed codes, by codes of its own."""

    def pack(window: int, level: int, strategy: int, data: bytes) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, window, 8, strategy)
        return packer.compress(data) + packer.flush()

    def named(data: bytes) -> bytes:
        file = io.BytesIO()
        with gzip.GzipFile("a-name", "wb", fileobj=file) as packer:
            packer.write(data)
        return file.getvalue()

    yield "gzip", named
    for coding, window in (("deflate", 15), ("gzip", 31)):
        yield coding, partial(pack, window, 0, zlib.Z_DEFAULT_STRATEGY)
        for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY):
            yield coding, partial(pack, window, 6, strategy)


def test_packed_messages_take_the_same_way() -> None:
    """Of a name as long as it can be, a start of all bytes, and more than the edge's buffer."""
    name = f"{'n' * 63}/{'g' * 63}"
    noise = np.random.default_rng(1).integers(0, 2**30, 2**16, np.uint32).view(np.float32)
    xs = np.ones((1, 2), np.float32), noise.reshape(-1, 2)

    async def main() -> None:
        arms = Arms(name, lambda revision: StepHead(double), RequestLimits())
        arms.apply(make_table(revisions={3: make_signature()}))
        async with (
            served_graphs({"demo": arms}) as (at, routers),
            http2.connected(at.site.grpc) as client,
        ):
            await at.route(**{name: EdgeRoute((routers["demo"].lean,), False)})
            for seen, (x, (coding, pack)) in enumerate(product(xs, packings()), 1):
                message = infer_request(name=name, id="i" * seen, x=x)
                message.outputs.add(name="rows")
                body = http2.framed(pack(message.SerializeToString()), flag=1)
                found = await client.call(body, ("grpc-encoding", coding))
                assert (found.code, len(routers["demo"].seen)) == (0, seen), coding
            assert arms.under_way.held == 0

    asyncio.run(main())


def test_a_name_behind_many_empty_blocks_is_not_looked_for() -> None:
    """Each takes HAProxy its time, and in a message there is room for thousands."""
    message = infer_request().SerializeToString()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    rest = packer.compress(message) + packer.flush() + zlib.adler32(message).to_bytes(4)

    async def main() -> None:
        async with (
            served_graphs({"demo": make_arms()}) as (at, routers),
            http2.connected(at.site.grpc) as client,
        ):
            for blocks in (8, 32):
                packed = b"\x78\x01" + b"\0\0\0\xff\xff" * blocks + rest
                body = http2.framed(packed, flag=1)
                found = await client.call(body, ("grpc-encoding", "deflate"))
                assert (found.code, routers["demo"].seen) == (0, [METHOD]), blocks

    asyncio.run(main())


def test_packed_messages_that_are_damaged_or_too_large_are_refused_and_hold_nothing() -> None:
    size = 10**6
    message = infer_request(x=np.zeros((size // 16, 2), np.float32)).SerializeToString()
    larger = infer_request(x=np.zeros((size // 7, 2), np.float32)).SerializeToString()
    whole = gzip.compress(message)
    refusals = {
        whole[:-9]: (StatusCode.INTERNAL, "failed due to data error"),
        whole + b"x": (StatusCode.INTERNAL, "failed due to not all input consumed"),
        gzip.compress(larger): (StatusCode.RESOURCE_EXHAUSTED, "unpacks to more than the limit"),
    }

    async def main() -> None:
        arms = make_arms(limits=RequestLimits(max_body=size))
        async with (
            served_graphs({"demo": arms}) as (at, routers),
            http2.connected(at.site.grpc) as client,
        ):
            for packed, (code, details) in refusals.items():
                body = http2.framed(packed, flag=1)
                found = await client.call(body, ("grpc-encoding", "gzip"))
                assert (found.code, details in found.details) == (code.value[0], True), found
                assert arms.under_way.held == arms.gate.inside == 0
            assert len(routers["demo"].seen) == len(refusals)

    asyncio.run(main())


def test_a_large_message_that_is_slow_or_too_large_or_cut_is_told_so_and_holds_nothing() -> None:
    size = 10**6
    limits = RequestLimits(max_body=size, max_arriving=4 * size)
    hasty = replace(limits, body_timeout=0.3)
    data = infer_request(x=np.zeros((size // 16, 2), np.float32)).SerializeToString()
    whole = http2.framed(data)

    async def main() -> None:
        async with served_graphs({"demo": make_arms(limits=hasty)}) as (at, routers):
            async with http2.connected(at.site.grpc) as client:
                stream = client.begin(http2.call_headers())
                for at_byte in range(0, 6 * 2**14, 2**14):
                    client.send(stream, whole[at_byte : at_byte + 2**14], flags=0)
                found = await client.reply(stream)
                assert found.code == StatusCode.DEADLINE_EXCEEDED.value[0]
                assert found.details == "the body did not arrive within 0.3s"
            assert routers["demo"].seen == [METHOD]
        async with served_graphs({"demo": make_arms(limits=limits)}) as (at, routers):
            async with http2.connected(at.site.grpc) as client:
                found = await client.call(whole[:-1])
                assert found.code == StatusCode.INTERNAL.value[0]
                assert found.details is not None
                assert "not one whole message" in found.details
            large = infer_request(x=np.zeros((size // 8, 2), np.float32))
            error = await failure(at.stub("ModelInfer", large))
            assert error.code() is StatusCode.RESOURCE_EXHAUSTED
            assert "over the limit of 1000000 bytes" in str(error.details())
            assert routers["demo"].seen == [METHOD] * 2

    asyncio.run(main())


def test_all_else_is_the_front_s() -> None:
    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            stub = at.stub
            assert (await stub("ServerLive")).live
            assert (await stub("ModelMetadata", name="demo")).name == "demo"
            assert (await stub("ModelReady", name="demo")).ready
            call = stub.stream([infer_request(id=str(number)) for number in range(3)])
            answers = [answer async for answer in call]
            assert [one.infer_response.id for one in answers] == ["0", "1", "2"]
            assert isinstance(answers[0], StreamResponse)
            health = health_pb2_grpc.HealthStub(stub.channel)
            found = await health.Check(health_pb2.HealthCheckRequest(service="demo"))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
            assert (await failure(stub.channel.unary_unary("/a/b")(b""))).code() is (
                StatusCode.UNIMPLEMENTED
            )
            assert routers["demo"].seen == []

    asyncio.run(main())


def test_a_deadline_and_a_client_that_gives_up_end_the_work() -> None:
    async def main() -> None:
        step = Hanging()
        async with (
            served_graphs({"demo": make_arms(step)}) as (at, routers),
            asyncio.timeout(60),
        ):
            seconds = 0.3
            while not step.begun.is_set():  # a busy machine may not come so far in that time
                error = await failure(at.stub("ModelInfer", infer_request(), timeout=seconds))
                assert error.code() is StatusCode.DEADLINE_EXCEEDED
                seconds *= 2
            await step.cancelled.wait()
            step.begun.clear()
            step.cancelled.clear()
            routers["demo"].seen.clear()
            call = at.stub("ModelInfer", infer_request())
            asked = asyncio.create_task(failure(call))
            await step.begun.wait()
            call.cancel()
            await step.cancelled.wait()
            await asyncio.gather(asked, return_exceptions=True)
            assert routers["demo"].seen == [METHOD]

    asyncio.run(main())


def test_more_calls_than_may_pass_are_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_frontend, "MAX_CALLS", 4)

    async def main() -> None:
        async with (
            grpc_edge() as at,
            FakeRouter(at.site.folder, "r", "wait") as router,
            http2.connected(at.site.grpc, "127.0.0.2") as second,
            http2.connected(at.site.grpc, "127.0.0.3") as third,
        ):
            await at.route(a=route(router))
            asked = [asyncio.create_task(ask(at.stub)) for _ in range(2)]
            message = InferRequest(model_name="a").SerializeToString()
            streams = [second.ask(message) for _ in range(2)]

            await eventually(lambda: len(router.seen) == 4)
            refused = await third.reply(third.ask(message))
            assert refused.code == StatusCode.UNAVAILABLE.value[0]
            assert refused.headers["retry-after"] == "1"
            assert (await at.stub("ServerLive")).live
            router.go.set()
            assert await asyncio.gather(*asked) == ["r"] * 2
            assert {(await second.reply(stream)).code for stream in streams} == {0}
            assert (await third.reply(third.ask(message))).code == 0

    asyncio.run(main())


def test_more_calls_of_a_connection_than_may_pass_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "MAX_CALLS", 2)

    async def main() -> None:
        async with grpc_edge() as at, FakeRouter(at.site.folder, "r", "wait") as router:
            await at.route(a=route(router))
            asked = [asyncio.create_task(ask(at.stub)) for _ in range(5)]

            await eventually(lambda: len(router.seen) == 2)
            router.go.set()
            assert await asyncio.gather(*asked) == ["r"] * 5

    asyncio.run(main())


def test_a_sleeping_graph_is_woken_by_the_front() -> None:
    async def main() -> None:
        async with served_graphs({"demo": make_arms()}) as (at, routers):
            await at.route(demo=EdgeRoute((), False))
            woken = await at.stub("ModelInfer", infer_request())
            assert woken.model_name == "demo"
            assert routers["demo"].seen == []

    asyncio.run(main())
