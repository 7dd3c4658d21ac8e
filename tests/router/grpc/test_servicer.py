"""One graph behind a real gRPC server on loopback, asked through plain stubs."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from anabranch import Graph
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
from anabranch.components.contract import Choice, Context
from anabranch.components.sticky.rendezvous import Rendezvous
from anabranch.errors import NodeError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.grpc import servicer
from anabranch.router.grpc.messages import InferRequest, StreamResponse, path
from anabranch.router.grpc.servicer import shorten
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.raw_tensors import encode_raw
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.decisions import Decision, from_routing
from anabranch.router.traffic.local_head import LocalHead
from tests.access.oidc import claims, signer
from tests.access.test_jwt import HERE, keys_of
from tests.access.test_renewal import Controller, guarded
from tests.router.conftest import KEYS, SIGNATURES, Demo, make_arms
from tests.router.grpc.conftest import Stub, connected, failure, infer_request, served, trailer

MakeArms = Callable[..., Arms]


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array(inputs["x"].shape[0])}


async def broken(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    raise NodeError("n", "it broke")


async def buggy(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    raise ZeroDivisionError("/home/secret")


async def nonsense(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"doubled": np.array([object()]), "rows": np.array(1)}


class Hanging:
    """A step that never ends; tells when it began and when it was cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return {}


def test_an_answer_is_in_the_form_of_its_request(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            raw = await stub("ModelInfer", infer_request(id="a"))
            typed = await stub("ModelInfer", infer_request(raw=False))
        assert (raw.model_name, raw.model_version, raw.id) == ("demo", "3", "a")
        assert np.frombuffer(raw.raw_output_contents[0], np.float32).tolist() == [2, 4, 6, 8]
        assert not raw.outputs[0].HasField("contents")
        assert list(typed.outputs[0].contents.fp32_contents) == [2, 4, 6, 8]
        assert list(typed.outputs[1].contents.int64_contents) == [2]
        assert not typed.raw_output_contents

    asyncio.run(main())


def test_a_revision_is_ready_while_all_its_outputs_can_be_computed() -> None:
    demo = Demo({3: double, 4: double})
    demo.apply({3: 50.0, 4: 50.0})
    demo.heads[3].why_not = "no reason"

    async def main() -> None:
        async with served(demo.arms) as stub:
            assert not (await stub("ModelReady", name="demo")).ready
            assert not (await stub("ModelReady", name="demo", version="3")).ready
            assert (await stub("ModelReady", name="demo", version="4")).ready

    asyncio.run(main())


def test_metadata_and_readiness(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            found = await stub("ModelMetadata", name="demo")
            assert (found.name, list(found.versions)) == ("demo", ["3"])
            tensor = found.inputs[0]
            assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [-1, 2])
            assert (await stub("ModelMetadata", name="demo", version="3")).name == "demo"
            assert (await stub("ModelReady", name="demo", version="3")).ready
            for method in ("ModelReady", "ModelMetadata"):
                error = await failure(stub(method, name="demo", version="4"))
                assert error.code() is StatusCode.NOT_FOUND
                assert "there are: 3" in error.details()
                error = await failure(stub(method, name="demi"))
                assert "there is: 'demo'" in error.details()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("step", "code", "details"),
    [
        (broken, StatusCode.INTERNAL, "node 'n' failed: it broke"),
        (buggy, StatusCode.INTERNAL, "internal error; request id me"),
        (nonsense, StatusCode.INTERNAL, "element 0 is of type object"),
    ],
)
def test_what_fails_has_its_code(arms: MakeArms, step: Any, code: StatusCode, details: str) -> None:
    async def main() -> None:
        async with served(arms(step)) as stub:
            metadata = (("x-request-id", "me"),)
            error = await failure(stub("ModelInfer", infer_request(), metadata=metadata))
        assert error.code() is code
        assert details in error.details()
        assert trailer(error)["x-request-id"] == "me"

    asyncio.run(main())


def test_mistakes_of_the_caller(arms: MakeArms) -> None:
    wrong = {
        "missing input 'x'": InferRequest(model_name="demo"),
        "no revision '9'": infer_request(version="9"),
        "no revision 'x": infer_request(version="x" * 64),
        "there is no graph 'nobody'": infer_request("nobody"),
        "input 'x' must be FP32[-1, 2]": infer_request(x=np.zeros(2, np.float32)),
    }

    async def main() -> None:
        async with served(arms()) as stub:
            for text, message in wrong.items():
                error = await failure(stub("ModelInfer", message))
                assert text in error.details()
                assert error.code() in (StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND)

    asyncio.run(main())


def test_every_answer_carries_the_request_id(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            call = stub("ModelInfer", infer_request(), metadata=(("x-request-id", "a-1"),))
            assert dict(await call.trailing_metadata())["x-request-id"] == "a-1"
            call = stub("ModelInfer", infer_request(), metadata=(("x-request-id", "a 1"),))
            assert len(dict(await call.trailing_metadata())["x-request-id"]) == 32

    asyncio.run(main())


def test_an_answer_carries_what_was_decided_about_its_request(arms: MakeArms) -> None:
    async def chosen(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        context.path["chooser"] = Choice("net", (0.5,))
        return await double(inputs, context)

    async def main() -> None:
        async with served(arms(chosen, routers={"chooser": ("forest", "net")})) as stub:
            answer = await stub("ModelInfer", infer_request(id="mine"))
            found = from_routing(answer.parameters["routing"].string_param, SIGNATURES)
            assert found == Decision("mine", 3, {"chooser": "net"}, {"chooser": (0.5,)})
            call = stub("ModelInfer", infer_request())
            own = from_routing((await call).parameters["routing"].string_param, SIGNATURES)
            assert own.id == dict(await call.trailing_metadata())["x-request-id"]
            (first,) = await answers(stub, infer_request(id="mine"))
            text = first.infer_response.parameters["routing"].string_param
            assert from_routing(text, SIGNATURES) == found

    asyncio.run(main())


def test_components_see_metadata_as_headers(demo: Any) -> None:
    async def main() -> None:
        graph = demo({3: double})
        graph.apply({3: 1})
        metadata = (("x-user", "u"), ("traceparent", "00-1-2-03"), ("blob-bin", b"\0\1"))
        async with served(graph.arms) as stub:
            await stub("ModelInfer", infer_request(id="mine"), metadata=metadata, timeout=None)
        (context,) = graph.heads[3].seen
        assert context.headers["x-user"] == "u"
        assert context.headers["traceparent"] == "00-1-2-03"
        assert "blob-bin" not in context.headers
        assert context.id == "mine"
        assert "timeout" not in context.parameters

    asyncio.run(main())


@pytest.mark.parametrize(
    ("asked", "remaining", "counts"),
    [
        (None, None, None),
        (None, 2.0, 2_000_000),
        (0, 2.0, 2_000_000),
        (1_000_000, 2.0, 1_000_000),
        (3_000_000, 2.0, 2_000_000),
        (3_000_000, None, 3_000_000),
        (None, 0.0, 1),
        ("soon", 2.0, "soon"),  # for the core to refuse
        (True, 2.0, True),
    ],
)
def test_the_shorter_time_counts(asked: Any, remaining: Any, counts: Any) -> None:
    request = InferenceRequest({}, parameters={} if asked is None else {"timeout": asked})
    shorten(request, remaining)
    assert request.parameters.get("timeout") == counts


def test_a_deadline_ends_the_work(arms: MakeArms) -> None:
    async def main() -> None:
        step = Hanging()
        async with served(arms(step)) as stub:
            seconds = 0.3
            while not step.begun.is_set():  # a busy machine may not come so far in that time
                error = await failure(stub("ModelInfer", infer_request(), timeout=seconds))
                assert error.code() is StatusCode.DEADLINE_EXCEEDED
                seconds *= 2
            await asyncio.wait_for(step.cancelled.wait(), 30)

    asyncio.run(main())


def test_the_graphs_own_time_holds_without_a_deadline(arms: MakeArms) -> None:
    async def main() -> None:
        step = Hanging()
        async with served(arms(step, timeout=0.1)) as stub:
            while not step.begun.is_set():  # a busy machine may not come so far in that time
                error = await failure(stub("ModelInfer", infer_request(), timeout=None))
                assert error.code() is StatusCode.DEADLINE_EXCEEDED
                assert "did not answer within 0.1s" in error.details()
            assert step.cancelled.is_set()

    asyncio.run(main())


def test_cancelling_a_call_cancels_the_work(arms: MakeArms) -> None:
    async def main() -> None:
        step = Hanging()
        async with served(arms(step)) as stub:
            call = stub("ModelInfer", infer_request())
            await step.begun.wait()
            call.cancel()
            await asyncio.wait_for(step.cancelled.wait(), 30)

    asyncio.run(main())


def test_a_full_replica_says_when_to_come_again(arms: MakeArms) -> None:
    async def main() -> None:
        step = Hanging()
        async with served(arms(step, RequestLimits(max_ongoing=1))) as stub:
            first = stub("ModelInfer", infer_request())
            await step.begun.wait()
            error = await failure(stub("ModelInfer", infer_request()))
            assert error.code() is StatusCode.UNAVAILABLE
            assert trailer(error)["retry-after"] == "1"
            first.cancel()
            await step.cancelled.wait()

    asyncio.run(main())


def test_messages_over_the_limit_are_refused(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms(limits=RequestLimits(max_body=1000))) as stub:
            await stub("ModelInfer", infer_request())
            large = infer_request(x=np.zeros((200, 2), np.float32))
            error = await failure(stub("ModelInfer", large))
            assert error.code() is StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_an_answer_over_the_limit_is_an_error_and_ends_nothing(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms(limits=RequestLimits(max_output=32))) as stub:
            large = infer_request(x=np.zeros((8, 2), np.float32))
            error = await failure(stub("ModelInfer", large))
            assert error.code() is StatusCode.INTERNAL
            assert "output 'doubled' has 64 bytes" in str(error.details())
            (answer,) = await answers(stub, large)
            assert answer.error_message == error.details()
            await stub("ModelInfer", infer_request())

    asyncio.run(main())


def test_what_a_compressed_message_unpacks_to_is_limited_too(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms(limits=RequestLimits(max_body=100_000))) as stub:
            small = infer_request(x=np.zeros((100, 2), np.float32))
            large = infer_request(x=np.zeros((10**6, 2), np.float32))
            assert len(gzip.compress(large.SerializeToString())) < 100_000
            send = stub.channel.unary_unary(
                path("ModelInfer"), request_serializer=InferRequest.SerializeToString
            )
            await send(small, compression=grpc.Compression.Gzip)
            error = await failure(send(large, compression=grpc.Compression.Gzip))
            assert error.code() is StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_too_much_metadata_is_refused(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms(limits=RequestLimits(max_headers=4096))) as stub:
            metadata = (("x-long", "a" * 5000),)
            error = await failure(stub("ModelInfer", infer_request(), metadata=metadata))
            assert error.code() is StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


async def answers(stub: Stub, *requests: Any, **options: Any) -> list[Any]:
    return [answer async for answer in stub.stream(requests, **options)]


def test_a_stream_answers_each_request(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            found = await answers(
                stub,
                infer_request(id="a"),
                infer_request(id="b", version="9"),
                InferRequest(id="c", model_name="demo"),
                infer_request(id="d", raw=False),
            )
        assert [answer.infer_response.id for answer in found] == ["a", "b", "c", "d"]
        assert [bool(answer.error_message) for answer in found] == [False, True, True, False]
        assert "no revision '9'" in found[1].error_message
        assert "missing input 'x'" in found[2].error_message
        assert found[0].infer_response.raw_output_contents
        assert list(found[3].infer_response.outputs[0].contents.fp32_contents) == [2, 4, 6, 8]
        for answer in found:
            assert answer.infer_response.parameters["triton_final_response"].bool_param

    asyncio.run(main())


def test_noise_in_a_stream_does_not_end_it(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            call = stub.channel.stream_stream(path("ModelStreamInfer"))
            sent = [b"\xff", infer_request(id="b").SerializeToString()]
            found = [StreamResponse.FromString(data) async for data in call(sent)]
        assert "not in Protocol Buffers" in found[0].error_message
        assert found[1].infer_response.id == "b"

    asyncio.run(main())


class Streaming:
    """A step that yields so many results, and ends once ``may_end`` is set."""

    def __init__(self, count: int) -> None:
        self.count, self.made = count, 0
        self.may_end, self.closed = asyncio.Event(), asyncio.Event()

    async def __call__(
        self, inputs: Mapping[str, Any], context: Context
    ) -> AsyncIterator[dict[str, Any]]:
        try:
            for _ in range(self.count):
                self.made += 1
                yield await double(inputs, context)
                await asyncio.sleep(0)
            await self.may_end.wait()
        finally:
            self.closed.set()


def is_final(answer: Any) -> bool:
    return bool(answer.infer_response.parameters["triton_final_response"].bool_param)


@pytest.mark.parametrize("asks", [True, False])
def test_an_end_that_comes_later_is_told_to_who_asks_for_it(arms: MakeArms, asks: bool) -> None:
    async def main() -> None:
        streaming = Streaming(3)
        graph = arms(streaming)
        asking = infer_request(id="a")
        asking.parameters["triton_enable_empty_final_response"].bool_param = asks
        async with served(graph) as stub:
            call = aiter(stub.stream([asking]))
            found = [await anext(call) for _ in range(3)]
            streaming.may_end.set()
            left = [answer async for answer in call]
        assert [is_final(answer) for answer in found] == [False] * 3
        assert [is_final(answer) for answer in left] == [True] * asks
        assert {answer.infer_response.id for answer in found + left} == {"a"}
        assert not any(answer.infer_response.outputs for answer in left)

    asyncio.run(main())


def test_an_end_that_comes_soon_after_the_only_answer_is_waited_for(
    arms: MakeArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "_END_S", 10)

    async def main() -> None:
        streaming = Streaming(1)
        graph = arms(streaming)
        async with served(graph) as stub:
            call = stub.stream([infer_request()])
            asyncio.get_running_loop().call_later(0.01, streaming.may_end.set)
            assert is_final(await call.read())

    asyncio.run(main())


def test_a_stream_that_is_cancelled_ends_its_component(arms: MakeArms) -> None:
    async def main() -> None:
        streaming = Streaming(10**9)
        graph = arms(streaming)
        async with served(graph) as stub:
            call = stub.stream([infer_request()])
            await call.read()
            call.cancel()
            await asyncio.wait_for(streaming.closed.wait(), 30)
        assert graph.gate.inside == 0

    asyncio.run(main())


def test_who_does_not_read_stops_the_component(arms: MakeArms) -> None:
    async def main() -> None:
        streaming = Streaming(10**9)
        graph = arms(streaming)
        large = infer_request(x=np.zeros((2**16, 2), np.float32))
        async with served(graph) as stub:
            call = stub.stream([large])
            await call.read()
            before = -1
            while streaming.made != before:
                before = streaming.made
                await asyncio.sleep(0.3)
            assert streaming.made < 100
            call.cancel()
            await streaming.closed.wait()

    asyncio.run(main())


def test_health_and_reflection(arms: MakeArms) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async def main() -> None:
        async with served(arms()) as stub:
            check = health_pb2_grpc.HealthStub(stub.channel).Check
            for service in ("", "inference.GRPCInferenceService"):
                found = await check(health_pb2.HealthCheckRequest(service=service))
                assert found.status == health_pb2.HealthCheckResponse.SERVING
            error = await failure(check(health_pb2.HealthCheckRequest(service="nobody")))
            assert error.code() is StatusCode.NOT_FOUND
            info = reflection_pb2_grpc.ServerReflectionStub(stub.channel).ServerReflectionInfo
            asked = [
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
                for symbol in ("inference.GRPCInferenceService", "grpc.health.v1.Health")
            ]
            files = [
                FileDescriptorProto.FromString(
                    answer.file_descriptor_response.file_descriptor_proto[0]
                )
                async for answer in info(asked)
            ]
        assert [file.package for file in files] == ["inference", "grpc.health.v1"]

    asyncio.run(main())


def test_an_unknown_method_is_said_to_be_one(arms: MakeArms) -> None:
    async def main() -> None:
        async with served(arms()) as stub:
            call = stub.channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
        assert raised.value.code() is StatusCode.UNIMPLEMENTED

    asyncio.run(main())


def test_a_silent_connection_is_closed(arms: MakeArms, monkeypatch: pytest.MonkeyPatch) -> None:
    from anabranch.router.grpc import server

    monkeypatch.setattr(server, "_HANDSHAKE_MS", 300)

    async def main() -> None:
        graph = server.GrpcServer([], RequestLimits())
        port = graph.bind("127.0.0.1")
        await graph.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(60):
            while await reader.read(100):
                pass
        writer.close()
        async with connected(f"127.0.0.1:{port}"):
            pass
        await graph.stop(0)

    asyncio.run(main())


class Constant:
    """Gives its own number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def transform(self, user: Any) -> Any:
        return np.full(user.shape, self.number)


def sticky_request(user: str, raw: bool) -> Any:
    message = InferRequest(model_name="demo")
    message.parameters["user"].string_param = user
    tensor = message.inputs.add(name="user", datatype="BYTES", shape=[1])
    if raw:
        message.raw_input_contents.append(encode_raw(np.array([user], object), "BYTES"))
    else:
        tensor.contents.bytes_contents.append(user.encode())
    return message


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "sticky", [{"header": "X-User"}, {"cookie": "user"}, {"parameter": "user"}, {"input": "user"}]
)
def test_a_sticky_caller_has_the_route_of_its_key_in_calls_and_in_streams(
    sticky: dict[str, str], raw: bool
) -> None:
    built = Graph("demo").input("user", "BYTES", [1])
    for number, name in enumerate(("a", "b")):
        built.transformer(
            name, component=Constant, args={"number": number}, inputs={"user": "user"}
        )
    routes: dict[str, Any] = {"routes": {"a": 2.0, "b": 1.0}, "sticky": sticky}
    built.router("pick", strategy="weighted", inputs={"user": "user"}, **routes)
    plan = built.output("y", "pick").plan

    async def main() -> None:
        executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, Path()))
        arms = Arms("demo", lambda revision: LocalHead(executor), RequestLimits())
        revisions = {3: plan.signature}
        arms.apply(RoutingTable("demo", 1, 3, {3: 100.0}, revisions=revisions, keys=KEYS))
        rendezvous = Rendezvous({"a": 2.0, "b": 1.0}, salt="pick/")
        seen = set()
        async with served(arms) as stub:
            for user in map(str, range(30)):
                asked = sticky_request(user, raw)
                metadata = (("x-user", user), ("cookie", f"a=b; user={user}"))
                expected = rendezvous.pick(user)
                reply = await stub("ModelInfer", asked, metadata=metadata)
                streamed = await answers(stub, asked, asked, metadata=metadata)
                for one in (reply, *(each.infer_response for each in streamed)):
                    found = from_routing(one.parameters["routing"].string_param, SIGNATURES)
                    assert found.path == {"pick": expected}
                seen.add(expected)
        executor.close()
        assert seen == {"a", "b"}

    asyncio.run(main())


def test_a_jwt_of_a_key_that_is_not_known_waits_for_it(arms: MakeArms) -> None:
    graph = arms(double)
    graph.guard = guarded(Controller(*keys_of(signer())))

    async def main() -> None:
        async with served(graph) as stub:
            for one, known in ((signer(), True), (signer("other", 1), False)):
                metadata = [("authorization", f"Bearer {one.token(claims(HERE))}")]
                call = stub("ModelInfer", infer_request(), metadata=metadata)
                if known:
                    assert (await call).outputs[0].name == "doubled"
                else:
                    assert (await refusal(call)).code() == StatusCode.UNAUTHENTICATED

    asyncio.run(main())


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize(("secret", "reaches"), [("known", False), ("theirs", True)])
def test_a_component_sees_no_key_of_the_engine_and_all_that_is_its_own(
    secret: str, reaches: bool
) -> None:
    seen: list[Mapping[str, str]] = []

    async def watched(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        seen.append(context.headers)
        return await double(inputs, context)

    async def asked() -> None:
        arms = make_arms(watched)
        keys = {digest_of("known"): KnownKey(Identity("key", "ci", (Grant("invoker"),)))}
        arms.guard.apply(AccessTable(1, keys, (Grant("invoker"),)))
        metadata = (("authorization", f"Bearer {secret}"), ("x-user", "ada"))
        async with served(arms) as stub:
            await stub("ModelInfer", infer_request(), metadata=metadata)
            [part async for part in stub.stream(requests(), metadata=metadata)]

    async def requests() -> AsyncIterator[Any]:
        yield infer_request()

    asyncio.run(asked())
    assert [headers["x-user"] for headers in seen] == ["ada", "ada"]
    assert ["authorization" in headers for headers in seen] == [reaches, reaches]
