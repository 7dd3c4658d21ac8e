"""What is kept of requests, and the CloudEvents that it becomes."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, NodeError
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, OutputTensor
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogEntry, LogRule
from anabranch.router.request_log.events import LogEvent, encode
from anabranch.router.request_log.tensors import decode_tensor
from anabranch.telemetry.trace import Trace
from tests.examples import examples
from tests.router.tensors import arrays, same_bits

X = np.array([[1.5, 2.0]], np.float32)
PLENTY = 2**24
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(**fields: Any) -> InferenceRequest:
    return InferenceRequest(**{"inputs": {"x": X}, **fields})


def response(*outputs: OutputTensor, **fields: Any) -> InferenceResponse:
    return InferenceResponse("demo", "3", None, list(outputs), 0.25, **fields)


def kept(rule: LogRule, asked: InferenceRequest, answer: Any, **headers: str) -> LogEntry:
    asked = msgspec.structs.replace(asked, headers=headers, request_id="id-1")
    entry = entries.begin(rule, "demo", 3, asked)
    if isinstance(answer, Exception):
        entries.failed(rule, entry, answer)
    else:
        entries.answered(rule, entry, answer)
    return entry


def event(rule: LogRule, asked: InferenceRequest, answer: Any, **headers: str) -> Any:
    text = encode(kept(rule, asked, answer, **headers), PLENTY)
    assert b"\n" not in text
    return orjson.loads(text)


def test_a_request_with_its_reply() -> None:
    asked = request(id="mine", parameters={"tier": "gold"}, outputs=("y",), protocol="grpc")
    answer = response(OutputTensor("y", "INT64", np.array([3])), path={"pick": "net"})
    found = event(LogRule(known=("x",)), asked, answer, traceparent=TRACE, authorization="secret")
    datetime.fromisoformat(found.pop("time"))
    assert found == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/v2/models/demo/versions/3",
        "type": "io.anabranch.inference.v1",
        "datacontenttype": "application/json",
        "traceparent": TRACE,
        "data": {
            "graph": "demo",
            "revision": 3,
            "endpoint": "infer",
            "protocol": "grpc",
            "seconds": 0.25,
            "path": {"pick": "net"},
            "request": {
                "id": "mine",
                "parameters": {"tier": "gold"},
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}],
                "outputs": [{"name": "y"}],
            },
            "response": {
                "model_name": "demo",
                "model_version": "3",
                "id": "mine",
                "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [3]}],
            },
        },
    }


def test_where_it_is_in_a_trace() -> None:
    rule = LogRule(known=("x",))
    ours = request(trace=Trace("a" * 32, "b" * 16))
    assert event(rule, ours, response(), traceparent=TRACE)["traceparent"] == (
        f"00-{'a' * 32}-{'b' * 16}-01"
    )
    assert "traceparent" not in event(rule, request(), response(), traceparent="anything")


def test_a_reply_in_parts() -> None:
    entry = entries.begin(LogRule(known=("x",)), "demo", 3, request(endpoint="generate"))
    for number in range(3):
        part = response(OutputTensor("y", "INT64", np.array([number])))
        entries.answered(LogRule(), entry, part)
    data = orjson.loads(encode(entry, PLENTY))["data"]
    assert (data["endpoint"], "response" in data) == ("generate", False)
    assert [one["outputs"][0]["data"] for one in data["responses"]] == [[0], [1], [2]]
    for _ in range(entries.MAX_PARTS):
        entries.answered(LogRule(), entry, response())
    cut = orjson.loads(encode(entry, PLENTY))["data"]
    assert (len(cut["responses"]), cut["omitted"]) == (entries.MAX_PARTS, ["responses"])


def test_an_error_stands_in_the_place_of_the_reply() -> None:
    failure = event(LogRule(known=("x",)), request(), NodeError("net", "it broke"))["data"]
    assert "response" not in failure
    assert failure["error"] == {
        "class": "NodeError", "status": 500, "message": "node 'net' failed: it broke",
    }  # fmt: skip
    wrong = event(LogRule(), request(), InvalidRequest("x" * 9999))["data"]["error"]
    assert (wrong["status"], len(wrong["message"])) == (400, entries.MAX_MESSAGE)
    unknown = event(LogRule(), request(), ValueError("inner detail"))["data"]["error"]
    assert unknown == {"class": "ValueError", "status": 500, "message": "internal error"}


@pytest.mark.parametrize("hours", [1, -1])
def test_the_time_that_a_failure_took_is_no_difference_of_clocks(
    monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real = time.time
    entry = entries.begin(LogRule(), "demo", 3, request())
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0 * hours)
    entries.failed(LogRule(), entry, NodeError("net", "it broke"))
    assert 0 <= entry.seconds < 3600


def test_components_that_work_in_place_change_nothing_in_the_log() -> None:
    x = X.copy()
    rule = LogRule(known=("x",))
    entry = entries.begin(rule, "demo", 3, InferenceRequest({"x": x}))
    x[:] = 0
    y = np.ones(2)
    entries.answered(rule, entry, response(OutputTensor("y", "FP64", y)))
    y[:] = 0
    data = orjson.loads(encode(entry, PLENTY))["data"]
    assert data["request"]["inputs"][0]["data"] == [1.5, 2.0]
    assert data["response"]["outputs"][0]["data"] == [1.0, 1.0]


def test_large_tensors_are_left_out() -> None:
    rule = LogRule(known=("x", "t"), max_tensor=8)
    texts = np.array(["abcd", ""], object)  # 4 bytes before each
    data = event(rule, InferenceRequest({"x": X, "t": texts}), response())["data"]
    x, t = data["request"]["inputs"]
    assert x["data"] == [1.5, 2.0]
    assert t == {"name": "t", "datatype": "BYTES", "shape": [2], "omitted": True}


def test_all_tensors_together_are_bounded() -> None:
    many = {f"x{number}": np.zeros(1000, np.uint8) for number in range(10)}
    entry = kept(LogRule(known=many, most=4000), InferenceRequest(many), response())
    assert [one.hidden for one in entry.inputs].count("omitted") >= 7
    assert entry.size <= 4000


def test_long_parameters_are_left_out_and_that_is_said() -> None:
    data = event(LogRule(known=("x",)), request(parameters={"a": "b" * 2**20}), response())["data"]
    assert data["omitted"] == ["parameters"]
    assert "parameters" not in data["request"]


def test_a_tensor_that_the_graph_does_not_have_is_left_out() -> None:
    """It may be a redacted one, misspelt."""
    rule = LogRule(redact=frozenset({"pixels"}), known=("pixels",))
    wrong = InvalidRequest("unknown input 'pixel'")
    data = event(rule, InferenceRequest({"pixel": X}), wrong)["data"]
    assert data["request"]["inputs"][0]["omitted"]


def test_an_event_that_is_too_large_keeps_its_types() -> None:
    x = np.zeros(1000, np.int8)
    entry = kept(LogRule(known=("x",)), InferenceRequest({"x": x}), response())
    text = encode(entry, 1000)
    assert len(text) <= 1000
    assert orjson.loads(text)["data"]["request"]["inputs"] == [
        {"name": "x", "datatype": "INT8", "shape": [1000], "omitted": True}
    ]


@settings(max_examples=examples(200))
@given(
    drawn=arrays(),
    is_output=st.booleans(),
    fails=st.booleans(),
    most=st.sampled_from([300, PLENTY]),
)
def test_what_is_redacted_never_gets_out(
    drawn: tuple[str, Any], is_output: bool, fails: bool, most: int
) -> None:
    """In no form: neither its elements, nor its raw bytes, nor in an error that quotes them."""
    datatype, array = drawn
    marked = np.empty(array.size + 1, object)
    marked[:] = [*array.ravel().tolist(), "S3CRET-7391"]
    rule = LogRule(redact=frozenset({"hidden"}), known=("x", "hidden"))
    quoting = NodeError("net", f"cannot take {array.ravel().tolist()!r} S3CRET-7391")
    for secret, kind in ((array, datatype), (marked, "BYTES")):
        inputs = {"x": X} if is_output else {"x": X, "hidden": secret}
        outputs = [OutputTensor("hidden", kind, secret)] if is_output else []
        answer = quoting if fails else response(*outputs)
        entry = kept(rule, InferenceRequest(inputs), answer)
        held = {one.name: one.array for part in (entry.inputs, *entry.parts) for one in part}
        assert held.get("hidden") is None
        text = encode(entry, most)
        assert b"S3CRET-7391" not in text
        assert b"cannot take" not in text
        assert base64.b64encode(b"S3CRET-7391")[:12] not in text
        data = orjson.loads(text)["data"]
        tensors = [*data["request"]["inputs"], *data.get("response", {}).get("outputs", [])]
        for tensor in tensors:
            if tensor["name"] == "hidden":
                assert tensor == {
                    "name": "hidden", "datatype": kind, "shape": list(secret.shape),
                    "redacted": True,
                }  # fmt: skip
        if fails:
            assert data["error"] == {"class": "NodeError", "status": 500, "redacted": True}


@given(drawn=arrays())
def test_events_are_read_again(drawn: tuple[str, Any]) -> None:
    datatype, array = drawn
    asked = InferenceRequest({"x": array}, ("y",), "own", {"p": 1})
    answer = response(OutputTensor("y", datatype, array))
    text = encode(kept(LogRule(known=("x",)), asked, answer), PLENTY)
    found = msgspec.json.decode(text, type=LogEvent)
    assert (found.id, found.data.request.id) == ("id-1", "own")
    assert found.data.request.parameters == {"p": 1}
    assert [one.name for one in found.data.request.outputs] == ["y"]
    assert found.data.response is not None
    for tensor in (*found.data.request.inputs, *found.data.response.outputs):
        assert same_bits(decode_tensor(tensor), array)
