"""Binary tensors over HTTP, from the body to the body."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.inference.contract import InferenceResponse, OutputTensor, TensorMetadata
from anabranch.router.limits import LARGE, RequestLimits
from anabranch.router.oip.decode import DecodedBody, decode_body
from anabranch.router.oip.encode import ResponseForm, encode_response
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.raw_tensors import decode_raw, encode_raw
from tests.router.tensors import arrays, same_bits

LIMITS = RequestLimits()
X = TensorMetadata("x", "FP32", (-1, 2))
TWO = np.array([[1.5, -2.0]], np.float32)


def body(*tensors: dict[str, Any], tail: bytes = b"", **fields: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": list(tensors), **fields}).encode()
    return head + tail, len(head)


def decode(raw: bytes, length: int | None, *inputs: TensorMetadata, **limits: Any) -> DecodedBody:
    return decode_body(raw, length, RequestLimits(**limits), lambda: inputs)


def tensor(size: Any = 8, **fields: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": parameters} | fields


def answer(raw: bytes, headers: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON of a reply, and its binary outputs decoded with nothing but this project's text."""
    found = {key.decode(): value.decode() for key, value in headers}
    length = int(found.get("inference-header-content-length", len(raw)))
    document, at = json.loads(raw[:length]), length
    binary: dict[str, Any] = {}
    for output in document["outputs"]:
        if "data" not in output:
            size = output["parameters"]["binary_data_size"]
            binary[output["name"]] = raw[at : at + size]
            at += size
    assert at == len(raw)
    assert (found.get("content-type") == "application/octet-stream") == bool(binary)
    return document, binary


def response(*outputs: tuple[str, Any]) -> InferenceResponse:
    made = [OutputTensor(f"t{i}", *output) for i, output in enumerate(outputs)]
    return InferenceResponse("m", "1", None, made)


@given(st.data())
def test_binary_and_json_tensors_mix_in_any_order(data: st.DataObject) -> None:
    made: list[tuple[str, Any]] = []
    tensors, tail = [], b""
    for index in range(data.draw(st.integers(1, 4))):
        is_binary = data.draw(st.booleans())
        datatype, array = data.draw(arrays(for_json=not is_binary))
        made.append((datatype, array))
        (written,) = answer(
            *encode_response(response((datatype, array)), ResponseForm(is_binary))[1:]
        )[0]["outputs"]
        tensors.append({**written, "name": f"t{index}"})
        tail += encode_raw(array, datatype) if is_binary else b""
    found = decode(*body(*tensors, tail=tail, id="7")).request
    assert found.id == "7"
    assert [*found.inputs] == [f"t{index}" for index in range(len(made))]
    for array, (_, expected) in zip(found.inputs.values(), made, strict=True):
        assert same_bits(array, expected)


@given(st.lists(arrays(), min_size=1, max_size=3))
def test_answers_survive_bit_for_bit(outputs: list[tuple[str, Any]]) -> None:
    reply = encode_response(response(*outputs), ResponseForm(is_binary=True))
    document, binary = answer(reply.body, reply.headers)
    tensors = [{**output, "name": output["name"]} for output in document["outputs"]]
    found = decode(*body(*tensors, tail=b"".join(binary.values()))).request
    for array, (_, expected) in zip(found.inputs.values(), outputs, strict=True):
        assert same_bits(array, expected)


@pytest.mark.parametrize(
    ("parameters", "outputs", "binary"),
    [
        ({}, None, []),
        ({"binary_data_output": False}, None, []),
        ({"binary_data_output": True}, None, ["t0", "t1"]),
        ({}, [{"name": "t0", "parameters": {"binary_data": True}}, {"name": "t1"}], ["t0"]),
        (
            {"binary_data_output": True},
            [{"name": "t0", "parameters": {"binary_data": False}}, {"name": "t1"}],
            ["t1"],
        ),
        ({}, [{"name": "t0", "parameters": {}}], []),
    ],
)
def test_an_output_is_binary_where_it_or_else_the_request_says(
    parameters: Any, outputs: Any, binary: list[str]
) -> None:
    found = decode(*body(tensor(), tail=bytes(8), parameters=parameters, outputs=outputs))
    reply = encode_response(response(("FP32", TWO), ("FP32", TWO)), found.form)
    assert [*answer(reply.body, reply.headers)[1]] == binary
    assert found.request.parameters == {}


def test_what_json_cannot_carry_goes_in_binary() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    reply = encode_response(response(("FP32", array)), ResponseForm(is_binary=True))
    _, binary = answer(reply.body, reply.headers)
    assert binary["t0"] == array.tobytes()
    texts = np.array([b"\xff", "é"], object)
    reply = encode_response(response(("BYTES", texts)), ResponseForm(is_binary=True))
    assert answer(reply.body, reply.headers)[1]["t0"] == b"\1\0\0\0\xff\2\0\0\0\xc3\xa9"


@pytest.mark.parametrize("size", [LARGE // 4 - 64, LARGE // 4, 2**21])
def test_an_answer_of_any_size_is_whole_and_keeps_no_memory_of_its_outputs(size: int) -> None:
    one, two = np.arange(size, dtype=np.float32), np.arange(3.0)
    reply = encode_response(response(("FP32", one), ("FP64", two)), ResponseForm(is_binary=True))
    before = one.tobytes()
    one[:] = 0  # as a component may do whose output is its own
    _, binary = answer(bytes(reply.body), reply.headers)
    assert binary == {"t0": before, "t1": two.tobytes()}


def test_outputs_that_are_no_bytes_are_named() -> None:
    with pytest.raises(UnencodableOutput, match="output 't0': element 0 is of type int"):
        encode_response(response(("BYTES", np.array([3], object))), ResponseForm(is_binary=True))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (body(tensor(), tail=bytes(7)), "'x' has a binary_data_size of 8 bytes, but only 7 are"),
        (body(tensor(), tail=bytes(9)), "9 bytes are behind the JSON, but the sum of every "),
        (body(tensor(), tensor(name="y"), tail=bytes(8)), "'y' has a binary_data_size of 8 bytes"),
        (body(tensor(4), tail=bytes(4)), "'x' of FP32[1, 2] takes 8 raw bytes, there are 4"),
        (body(tensor(-1)), "must be a number of bytes, got -1"),
        (body(tensor(8.0), tail=bytes(8)), "must be a number of bytes, got 8.0"),
        (body(tensor(True), tail=bytes(1)), "must be a number of bytes, got True"),
        (body(tensor("8"), tail=bytes(8)), "must be a number of bytes, got '8'"),
        (body(tensor(10**30)), "but only 0 are left"),
        (body(tensor(data=[1.0, 2.0]), tail=bytes(8)), "'x' has both data and a binary_data_size"),
        (body(tensor(parameters={}), tail=bytes(8)), "'x' has no data"),
        (body(tensor(datatype="BYTES"), tail=bytes(8)), None),
        ((body(tensor())[0], None), "but only 0 are left behind the JSON; header Inference-Header"),
        ((b"{}", 3), "says 3 bytes of JSON, the body has 2"),
        ((b"", 1), "says 1 bytes of JSON, the body has 0"),
        ((body(tensor(), tail=bytes(8))[0], 5), "the body is not JSON"),
    ],
)
def test_wrong_bodies_are_told(raw: tuple[bytes, int | None], reason: str | None) -> None:
    if reason is None:
        assert decode(*raw).request.inputs["x"].tolist() == [["", ""]]
        return
    with pytest.raises(InvalidRequest) as caught:
        decode(*raw)
    assert reason in str(caught.value)


def test_limits_hold_before_memory_is_taken() -> None:
    with pytest.raises(TooLarge, match="over the limit"):
        decode(*body(tensor(shape=[2**40, 2**40]), tail=bytes(8)))
    with pytest.raises(TooLarge, match="over the limit of 1 elements"):
        decode(*body(tensor(), tail=bytes(8)), max_elements=1)


@pytest.mark.parametrize(
    ("declared", "raw", "expected"),
    [
        (X, bytes(24), np.zeros((3, 2), np.float32)),
        (X, b"", np.zeros((0, 2), np.float32)),
        (TensorMetadata("x", "FP32", (1, 2)), bytes(8), np.zeros((1, 2), np.float32)),
        (TensorMetadata("x", "UINT8", ()), b"\7", np.array(7, np.uint8)),
        (TensorMetadata("x", "BOOL", (-1,)), b"\1\0", np.array([True, False])),
        (TensorMetadata("x", "BF16", (-1,)), b"\x80\x3f", np.array([1], DTYPES["BF16"])),
        (TensorMetadata("x", "BYTES", (1,)), b"ab\xff", np.array([b"ab\xff"], object)),
        (TensorMetadata("x", "BYTES", (-1, 1)), b"", np.array([[b""]], object)),
        (TensorMetadata("x", "FP32", (-1, 0)), b"", np.zeros((0, 0), np.float32)),
    ],
)
def test_the_whole_body_is_the_only_input(
    declared: TensorMetadata, raw: bytes, expected: Any
) -> None:
    request, form = decode(raw, 0, declared)
    assert same_bits(request.inputs["x"], expected)
    assert form.of("anything")


@pytest.mark.parametrize(
    ("declared", "raw", "reason"),
    [
        ((X, TensorMetadata("y", "FP32", ())), b"", "this graph has the inputs 'x', 'y', so"),
        (
            (TensorMetadata("x", "FP32", (-1, -1)),),
            b"",
            "has the shape [-1, -1], with several free",
        ),
        ((TensorMetadata("x", "BYTES", (2,)),), b"ab", "'x' is BYTES[2], not one element"),
        ((X,), bytes(9), "'x' of FP32[1, 2] takes 8 raw bytes, there are 9"),
        ((X,), bytes(4), "'x' of FP32[0, 2] takes 0 raw bytes, there are 4"),
        ((TensorMetadata("x", "FP32", (-1, 0)),), b"1", "takes 0 raw bytes, there are 1"),
        ((TensorMetadata("x", "FP32", (3,)),), bytes(8), "takes 12 raw bytes, there are 8"),
    ],
)
def test_what_cannot_be_asked_with_a_bare_body(
    declared: tuple[TensorMetadata, ...], raw: bytes, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, 0, *declared)
    assert reason in str(caught.value)


def test_the_client_in_the_documentation_works(graph: Callable[..., str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    (script,) = re.findall(r"^```python\n(import json.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(script.replace("http://localhost:8000/v2/models/demo", graph()), names)
    np.testing.assert_array_equal(names["found"], names["x"] * 2)


def read(pieces: list[bytes], length: int, limit: int) -> Any:
    """The buffer that a request in pieces is read into."""
    messages = iter([{"type": "http.request", "body": one, "more_body": True} for one in pieces])

    async def receive() -> Any:
        return next(messages, {"type": "http.request", "body": b""})

    headers = [(b"inference-header-content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    rule = BodyRule.of(RequestLimits(max_body=limit))
    found = asyncio.run(HttpRequest(scope, receive).buffer(rule))
    assert rule.arriving.held == 0
    return found


@pytest.mark.parametrize("length", range(1, 18))
def test_tensors_of_a_body_in_pieces_lie_where_they_were_read(length: int) -> None:
    sent = b" " * length + np.arange(3.0).tobytes()
    body = read([sent[:5], sent[5:]], length, len(sent))
    assert bytes(body) == sent
    behind = memoryview(body)[length:]
    array = decode_raw(Header("x", "FP64", [3]), behind, LIMITS)
    assert np.shares_memory(array, np.frombuffer(behind, np.uint8))
    with pytest.raises(TooLarge, match=f"over the limit of {len(sent) - 1} bytes"):
        read([sent[:5], sent[5:]], length, len(sent) - 1)
