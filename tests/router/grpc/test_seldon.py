"""Seldon's protocol over real gRPC: of a graph's own server, and of the front."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.components.contracts.seldon import protos
from anabranch.components.contracts.seldon.protos import POOL, message_type
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.grpc.seldon.decode import decode_predict, decode_reward
from anabranch.router.grpc.seldon.encode import encode_reply
from anabranch.router.grpc.seldon.messages import SELDON, MetaMessage, SeldonMessage, methods, path
from anabranch.router.grpc.servers import RouterServer
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.seldon.answers import ROUTING_TAG, Answer
from anabranch.router.seldon.messages import JsonText
from anabranch.router.seldon.payloads import Doubles, PayloadKind
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from tests.router.control import FakeControl
from tests.router.grpc.conftest import connected, failure, fronted
from tests.router.seldon.graphs import ROUTES, seldon_arms
from tests.router.traffic.test_feedback import Source

Any_ = GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.Any"))
FOLDER = Path(protos.__file__).parent
TAGS = (("seldon", "demo"), ("namespace", "default"))
LIMITS = RequestLimits(max_body=2**20, max_decoded=2**22)

FIELDS = {
    "SeldonMessage": {"status": 1, "meta": 2, "data": 3, "binData": 4, "strData": 5, "jsonData": 6,
                      "customData": 7},
    "DefaultData": {"names": 1, "tensor": 2, "ndarray": 3, "tftensor": 4},
    "Tensor": {"shape": 1, "values": 2},
    "Meta": {"puid": 1, "tags": 2, "routing": 3, "requestPath": 4, "metrics": 5},
    "Metric": {"key": 1, "type": 2, "value": 3, "tags": 4},
    "Status": {"code": 1, "info": 2, "reason": 3, "status": 4},
    "Feedback": {"request": 1, "response": 2, "reward": 3, "truth": 4},
    "SeldonModelMetadataRequest": {"name": 1},
    "SeldonMessageMetadata": {"messagetype": 1, "schema": 2, "name": 3, "datatype": 4, "shape": 5},
    "SeldonModelMetadata": {"name": 1, "versions": 2, "platform": 3, "inputs": 4, "outputs": 5,
                            "custom": 6},
    "SeldonGraphMetadata": {"name": 1, "models": 2, "inputs": 3, "outputs": 4},
}  # fmt: skip
"""Field numbers of proto/prediction.proto at v1.17.1."""


class SeldonStub:
    """Seldon's methods on a channel; messages are given as the JSON that proto3 has for them."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def __call__(self, method: str, document: Any, **options: Any) -> dict[str, Any]:
        names = {"SendFeedback": "Feedback", "ModelMetadata": "SeldonModelMetadataRequest"}
        kind = message_type(names.get(method, "SeldonMessage"))
        message = json_format.ParseDict(document, kind()).SerializeToString()
        return await self.raw(method, message, **options)

    async def raw(self, method: str, message: bytes, **options: Any) -> dict[str, Any]:
        answers = {
            "ModelMetadata": "SeldonModelMetadata", "GraphMetadata": "SeldonGraphMetadata"
        }  # fmt: skip
        kind = message_type(answers.get(method, "SeldonMessage"))
        call = self.channel.unary_unary(path(method))(message, **{"timeout": 30, **options})
        data = await call
        found: dict[str, Any] = json_format.MessageToDict(kind.FromString(data))
        found["trailer"] = trailer_of(await call.trailing_metadata())
        return found


def trailer_of(found: Any) -> dict[str, Any]:
    return dict(found)


@asynccontextmanager
async def serving(arms: Arms, source: Source | None = None) -> AsyncIterator[RouterServer]:
    server = RouterServer(arms, Feedback(arms, source or Source()))
    await server.start(None, "127.0.0.1")
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def served(arms: Arms, source: Source | None = None) -> AsyncIterator[SeldonStub]:
    async with serving(arms, source) as server, connected(server.far) as stub:
        yield SeldonStub(stub.channel)


async def echo(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"y": inputs["x"]}


def test_the_descriptors_are_those_of_the_proto(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    compiled = tmp_path / "found.binpb"
    command = ["-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--descriptor_set_out={compiled}"]
    subprocess.run([sys.executable, *command, "seldon.proto"], check=True)
    kind = descriptor_pb2.FileDescriptorSet
    committed = (FOLDER / "seldon.binpb").read_bytes()
    assert kind.FromString(compiled.read_bytes()) == kind.FromString(committed), "run `make proto`"


def test_fields_have_the_numbers_of_the_protocol() -> None:
    for name, numbers in FIELDS.items():
        fields = POOL.FindMessageTypeByName(f"seldon.protos.{name}").fields
        assert {field.name: field.number for field in fields} == numbers
    assert methods() == ["Predict", "SendFeedback", "ModelMetadata", "GraphMetadata"]


@pytest.mark.parametrize(
    ("inputs", "message", "payload"),
    [
        (("FP32", (-1, 2)), {"data": {"ndarray": [[1, 2.5]]}},
         {"data": {"names": ["t:0", "t:1"], "ndarray": [[1.0, 2.5]]}}),
        (("INT32", (-1,)), {"data": {"tensor": {"shape": [2], "values": [1, -2]}}},
         {"data": {"tensor": {"shape": [2], "values": [1.0, -2.0]}}}),
        (("BOOL", (-1,)), {"data": {"tensor": {"shape": [2], "values": [1, 0]}}},
         {"data": {"ndarray": [True, False]}}),
        (("FP64", (-1,)), {"data": {"tensor": {"shape": [2], "values": ["NaN", "-Infinity"]}}},
         {"data": {"tensor": {"shape": [2], "values": ["NaN", "-Infinity"]}}}),
        (("FP64", (0,)), {"data": {"tensor": {"shape": [0], "values": []}}},
         {"data": {"tensor": {"shape": [0]}}}),
        (("BF16", (-1,)), {"data": {"tensor": {"shape": [1], "values": [1.5]}}},
         {"data": {"tensor": {"shape": [1], "values": [1.5]}}}),
        (("BYTES", (-1,)), {"data": {"ndarray": ["a", "é"]}}, {"data": {"ndarray": ["a", "é"]}}),
        (("BYTES", ()), {"strData": "a"}, {"strData": "a"}),
        (("BYTES", ()), {"binData": "YQ=="}, {"binData": "YQ=="}),
        (("BYTES", ()), {"jsonData": {"a": [1, None]}}, {"jsonData": {"a": [1.0, None]}}),
        (("FP64", ()), {"jsonData": {"x": 2}}, {"data": {"tensor": {"values": [2.0]}}}),
    ],
)  # fmt: skip
def test_payloads_come_back_as_they_were_sent(inputs: Any, message: Any, payload: Any) -> None:
    async def main() -> None:
        async with served(seldon_arms(echo, inputs={"x": inputs})) as stub:
            found = await stub("Predict", message, metadata=TAGS)
            meta, told = found.pop("meta"), found.pop("trailer")
            assert found == payload
            assert meta["puid"] == told["seldon-puid"]
            assert meta["requestPath"] == {"demo": "demo:3"}

    asyncio.run(main())


def test_several_outputs_are_one_document() -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": inputs["x"], "z": np.array(["a"], object), "n": np.array(2)}

    async def main() -> None:
        async with served(seldon_arms(step, outputs=("y", "z", "n"))) as stub:
            found = await stub("Predict", {"data": {"ndarray": [[1, 2]]}})
            assert found["jsonData"] == {"y": [[1.0, 2.0]], "z": ["a"], "n": 2.0}

    asyncio.run(main())


def test_meta_travel_as_over_http() -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        assert context.tags == {"number": 1.0, "text": "a", "flag": True}
        assert context.names == {"x": ["a", "b"]}
        assert context.id == "own"
        context.tags["more"] = 2
        context.path["chooser"] = "net"
        context.measure("took", 0.25, "timer")
        return {"y": inputs["x"]}

    tags = {"number": 1, "text": "a", "flag": True, "deep": [1, {"a": None}]}
    message = {
        "meta": {"puid": "own", "tags": tags, "requestPath": {"a": "b:1"}},
        "data": {"names": ["a", "b"], "ndarray": [[1, 2]]},
    }

    async def main() -> None:
        async with served(seldon_arms(step, routers=ROUTES)) as stub:
            meta = (await stub("Predict", message))["meta"]
        assert json.loads(meta["tags"].pop(ROUTING_TAG))["path"] == {"chooser": "net"}
        assert meta == {
            "puid": "own",
            "tags": {**tags, "more": 2.0},
            "routing": {"chooser": 1},
            "requestPath": {"a": "b:1", "demo": "demo:3"},
            "metrics": [{"key": "took", "type": "TIMER", "value": 250.0}],
        }

    asyncio.run(main())


def test_the_puid_may_come_as_metadata() -> None:
    async def main() -> None:
        async with served(seldon_arms()) as stub:
            options = {"metadata": (("seldon-puid", "head"),)}
            found = await stub("Predict", {"data": {"ndarray": [[1, 2]]}}, **options)
            assert (found["meta"]["puid"], found["trailer"]["seldon-puid"]) == ("head", "head")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "one field of data"),
        ({"data": {}}, "one field of ndarray, tensor"),
        ({"data": {"tftensor": {}}}, "TensorFlow"),
        ({"strData": "a"}, "holds numbers"),
        ({"data": {"ndarray": [[1, 2, 3]]}}, "must be FP32[-1, 2]"),
        ({"data": {"tensor": {"shape": [2, 2], "values": [1]}}}, "holds 1"),
        ({"data": {"tensor": {"shape": [-1, 2], "values": [1, 2]}}}, "below 0"),
        ({"data": {"tensor": {"shape": [1, 2], "values": [1, 1e39]}}}, "out of range"),
        ({"meta": {"puid": "x" * 1025}, "data": {"ndarray": [[1, 2]]}}, "limit of 1024"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(message: Any, words: str) -> None:
    async def main() -> None:
        async with served(seldon_arms(inputs={"x": ("FP32", (-1, 2))})) as stub:
            error = await failure(stub("Predict", message))
            assert error.code() is StatusCode.INVALID_ARGUMENT
            assert words in str(error.details())
            custom = SeldonMessage(customData=Any_(type_url="x")).SerializeToString()
            assert "send `binData`" in str((await failure(stub.raw("Predict", custom))).details())

    asyncio.run(main())


def test_integers_that_doubles_cannot_hold_are_not_rounded() -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"y": np.array([2**53 + 1])}

    async def main() -> None:
        async with served(seldon_arms(step)) as stub:
            for payload in (
                {"ndarray": [[1, 2]]}, {"tensor": {"shape": [1, 2], "values": [1, 2]}}
            ):  # fmt: skip
                error = await failure(stub("Predict", {"data": payload}))
                assert "ask over HTTP" in str(error.details())

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["ndarray", "jsonData"])
def test_json_that_is_nested_too_deeply_for_the_protocol_is_told_so(kind: PayloadKind) -> None:
    answer = Answer(kind, JsonText(b"[" * 100 + b"]" * 100), [])
    with pytest.raises(UnencodableOutput, match="cannot hold"):
        encode_reply(answer, {})


def test_calls_for_other_graphs_and_protocols_are_refused() -> None:
    async def main() -> None:
        message = {"data": {"ndarray": [[1, 2]]}}
        async with served(seldon_arms()) as stub:
            for tags in ((("seldon", "other"),), (("seldon", "else"), ("namespace", "default"))):
                error = await failure(stub("Predict", message, metadata=tags))
                assert error.code() is StatusCode.NOT_FOUND
        async with served(seldon_arms(protocols=())) as stub:
            error = await failure(stub("Predict", message))
            assert "protocols: [seldon]" in str(error.details())

    asyncio.run(main())


def test_rewards_find_their_decision_by_the_response() -> None:
    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        context.path["chooser"] = "net"
        return {"y": np.array([1])}

    async def main() -> None:
        source, arms = Source(), seldon_arms(step, routers=ROUTES)
        async with served(arms, source) as stub:
            request = {"data": {"ndarray": [[1, 2]]}}
            response = await stub("Predict", request)
            del response["trailer"]
            truth = {"data": {"ndarray": [[1]]}}
            feedback = {"request": request, "response": response, "reward": 0.5, "truth": truth}
            found = await stub("SendFeedback", feedback)
            assert found["meta"]["tags"] == {"counted": True, "reward": 0.5}
            assert found["status"] == {"code": 200}
            again = {"response": {"meta": {"puid": response["meta"]["puid"]}}, "reward": 1}
            found = await stub("SendFeedback", again)
            assert found["meta"]["tags"] == {"counted": False, "reward": 0.5}
            error = await failure(stub("SendFeedback", {"reward": 1}))
            assert error.code() is StatusCode.INVALID_ARGUMENT
            error = await failure(stub("SendFeedback", {**again, "reward": "NaN"}))
            assert "no finite number" in str(error.details())
        (entry,) = source.counted.values()
        assert entry.decision.path == {"chooser": "net"}
        assert arms.report().arm(3).rewards.right == 1

    asyncio.run(main())


def test_metadata_are_those_of_one_model() -> None:
    async def main() -> None:
        async with served(seldon_arms()) as stub:
            model = await stub("ModelMetadata", {"name": "demo"})
            assert model["inputs"] == [{"name": "x", "datatype": "FP64", "shape": ["-1", "2"]}]
            del model["trailer"]
            found = await stub.raw("GraphMetadata", b"")
            assert found["models"] == {"demo": model}
            assert found["inputs"] == model["inputs"]

    asyncio.run(main())


def test_the_front_finds_the_graph_by_metadata() -> None:
    async def main() -> None:
        control = FakeControl()
        one, two = seldon_arms(), seldon_arms(name="team/demo")
        async with serving(one) as near, serving(two) as far, fronted(control) as plain:
            stub = SeldonStub(plain.channel)
            await control.know(**{"demo": (near.far,), "team/demo": (far.far,)})
            message = {"data": {"ndarray": [[1, 2]]}}
            for tags, name in (
                ((("seldon", "demo"),), "demo"),
                (TAGS, "demo"),
                ((("seldon", "demo"), ("namespace", "team")), "team/demo"),
            ):
                puid = (("seldon-puid", "p"),)
                found = await stub("Predict", message, metadata=(*tags, *puid))
                assert found["meta"]["requestPath"] == {name: f"{name}:3"}
                assert found["trailer"]["seldon-puid"] == "p"
            error = await failure(stub("Predict", message))
            assert "metadata 'seldon' is missing" in str(error.details())
            assert error.code() is StatusCode.INVALID_ARGUMENT
            error = await failure(stub("Predict", message, metadata=(("seldon", "no"),)))
            assert error.code() is StatusCode.NOT_FOUND

    asyncio.run(main())


def test_health_and_reflection_know_the_service() -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async def main() -> None:
        async with served(seldon_arms()) as stub:
            check = health_pb2_grpc.HealthStub(stub.channel).Check
            found = await check(health_pb2.HealthCheckRequest(service=SELDON))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
            info = reflection_pb2_grpc.ServerReflectionStub(stub.channel).ServerReflectionInfo
            asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=SELDON)]
            (answer,) = [one async for one in info(asked)]
            found = [
                descriptor_pb2.FileDescriptorProto.FromString(file).package
                for file in answer.file_descriptor_response.file_descriptor_proto
            ]
            assert "seldon.protos" in found

    asyncio.run(main())


def test_lists_may_hold_fewer_bytes_than_tensors() -> None:
    message = SeldonMessage()
    message.data.tensor.values.extend([0.0] * 2**15)
    assert decode_predict(message.SerializeToString(), LIMITS).payload.kind == "tensor"
    message.data.ndarray.extend([1.0] * 2**14)
    with pytest.raises(TooLarge, match="lists and documents"):
        decode_predict(message.SerializeToString(), LIMITS)
    feedback = message_type("Feedback")(request=message, response=message, reward=1)
    feedback.response.meta.puid = "p"
    assert decode_reward(feedback.SerializeToString(), "", LIMITS).given.id == "p"
    feedback.truth.CopyFrom(message)
    with pytest.raises(TooLarge, match="truth"):
        decode_reward(feedback.SerializeToString(), "", LIMITS)


tensors = st.sampled_from(["BOOL", "UINT8", "INT8", "INT64", "FP16", "FP32", "FP64", "BF16"])


@given(tensors, st.lists(st.floats(), max_size=6))
def test_doubles_are_cast_without_a_loss_or_refused(datatype: str, values: list[float]) -> None:
    tensor = TensorMetadata("x", datatype, (-1,))
    given = np.array(values, np.float64)
    try:
        found = Doubles([len(values)], given).array(tensor, LIMITS)
    except InvalidRequest:
        return
    back = found.astype(np.float64)
    if datatype in ("FP64", "BOOL", "UINT8", "INT8", "INT64"):
        assert np.array_equal(back, given, equal_nan=True)
    else:
        assert np.array_equal(np.isinf(back), np.isinf(given))


@given(st.binary(max_size=80) | st.builds(
    lambda puid, tail: MetaMessage(puid=puid).SerializeToString() + tail,
    st.text(max_size=4), st.binary(max_size=20)))  # fmt: skip
def test_malformed_messages_are_the_mistakes_of_the_caller(data: bytes) -> None:
    metadata = ModelMetadata("demo", ("1",), "", (TensorMetadata("x", "FP32", (-1, 2)),), ())
    for decode in (
        lambda: decode_predict(data, LIMITS).request(metadata, LIMITS, "p"),
        lambda: decode_reward(data, "p", LIMITS),
    ):
        with suppress(InvalidRequest, TooLarge):
            decode()


def test_an_unknown_method_is_said_to_be_one() -> None:
    async def main() -> None:
        async with served(seldon_arms()) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.channel.unary_unary(path("Nothing"))(b"")
        assert raised.value.code() is StatusCode.UNIMPLEMENTED

    asyncio.run(main())
