"""A log is sent to a graph again, here one of steps behind a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.client import replay
from anabranch.client.replay import Replayed, ReplayPace, ReplayRequest, difference, judge, prepare
from anabranch.components.contract import Context
from anabranch.components.tensors.datatypes import to_datatype
from anabranch.errors import NodeError
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, OutputTensor
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_body
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogRule
from anabranch.router.request_log.events import LogEvent, encode
from anabranch.specs.models import Compare
from tests.examples import examples
from tests.router.conftest import make_arms, serving
from tests.router.tensors import arrays, same_bits

RULE = Compare()
X = np.array([[1.0, 2.0]], np.float32)


def event(
    inputs: Mapping[str, Any] | None = None,
    answer: Mapping[str, Any] | None = None,
    rule: LogRule | None = None,
    error: Exception | None = None,
    **request: Any,
) -> LogEvent:
    """An event as it is read from a log."""
    inputs = {"x": X} if inputs is None else inputs
    answer = {"doubled": X * 2, "rows": np.array(1)} if answer is None else answer
    rule = rule or LogRule(known=inputs)
    entry = entries.begin(rule, "demo", 3, InferenceRequest(inputs, request_id="id-1", **request))
    tensors = [OutputTensor(name, to_datatype(one.dtype), one) for name, one in answer.items()]
    if error is None:
        entries.answered(rule, entry, InferenceResponse("demo", "3", None, tensors))
    else:
        entries.failed(rule, entry, error)
    return msgspec.json.decode(encode(entry, 2**20), type=LogEvent)


@settings(max_examples=examples(200))
@given(drawn=arrays(), others=st.booleans())
def test_a_request_is_sent_as_it_came(drawn: tuple[str, Any], others: bool) -> None:
    """Every bit of it; and texts as texts, where all of it can be said in JSON."""
    _, array = drawn
    inputs = {"x": array, "z": X} if others else {"x": array}
    parcel = prepare(event(inputs, {"y": array}, parameters={"p": 1}, outputs=("y",)))
    assert isinstance(parcel, ReplayRequest)
    request, form = decode_body(parcel.body, parcel.json_length, RequestLimits(), list)
    assert request.inputs.keys() == inputs.keys()
    for name, one in inputs.items():
        assert same_bits(request.inputs[name], one)
    if array.dtype == object and all(isinstance(one, str) for one in array.ravel().tolist()):
        assert all(isinstance(one, str) for one in request.inputs["x"].ravel().tolist())
    assert (request.id, request.outputs, form.is_binary) == ("replay-id-1", ("y",), True)
    assert request.parameters == {"p": 1}
    assert same_bits(parcel.expected["y"], array)


def test_what_is_not_sent_along() -> None:
    asked = {"timeout": 5, "explain": True, "tier": "gold"}
    parcel = prepare(event(parameters=asked, id="own"))
    assert isinstance(parcel, ReplayRequest)
    request, _ = decode_body(parcel.body, parcel.json_length, RequestLimits(), list)
    assert (request.parameters, request.id) == ({"tier": "gold"}, "replay-id-1")


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        (None, "unreadable"),
        (event(error=NodeError("net", "broke")), "error"),
        (event(rule=LogRule(frozenset({"x"}), known=("x",))), "redacted"),
        (event(rule=LogRule(frozenset({"doubled", "rows"}), known=("x",))), "redacted"),
        (event(rule=LogRule(max_tensor=1, known=("x",))), "omitted"),
        (event(parameters={"a": "b" * 2**20}), "omitted"),
    ],
)
def test_what_cannot_be_sent(logged: LogEvent | None, reason: str) -> None:
    assert prepare(logged) == reason


def test_a_reply_in_parts_is_not_asked_for_again() -> None:
    logged = event()
    assert logged.data.response is not None
    logged.data.responses, logged.data.response = [logged.data.response] * 2, None
    assert prepare(logged) == "streamed"


def test_a_tensor_that_cannot_be_read() -> None:
    logged = event()
    logged.data.request.inputs[0].shape = [7]
    assert prepare(logged) == "unreadable"


def test_outputs_that_are_hidden_do_not_count() -> None:
    parcel = prepare(event(rule=LogRule(frozenset({"rows"}), known=("x",))))
    assert isinstance(parcel, ReplayRequest)
    assert parcel.expected.keys() == {"doubled"}


Y = {"y": np.array([[1.0, 2.0], [3.0, np.nan]], np.float32)}


@pytest.mark.parametrize(
    ("given", "outcome", "detail"),
    [
        (Y["y"], "equal", ""),
        (Y["y"] * np.float32(1.0001), "close", ""),
        (Y["y"].astype(np.float64), "close", ""),
        (np.array([[1.0, 2.0], [4.0, np.nan]], np.float32), "differs",
         "output 'y': 4.0 instead of 3.0 at [1, 0]"),
        (np.array([[1.0, 2.0], [3.0, 0.0]], np.float32), "differs",
         "output 'y': 0.0 instead of nan at [1, 1]"),
        (np.ones(4, np.float32), "differs",
         "output 'y' is float32[4] instead of float32[2, 2]"),
        (np.ones((2, 2), np.int64), "differs",
         "output 'y' is int64[2, 2] instead of float32[2, 2]"),
    ],
)  # fmt: skip
def test_judging(given: Any, outcome: str, detail: str) -> None:
    assert judge(Y, {"y": given, "more": X}, RULE) == (outcome, detail)


def test_an_output_that_is_missing_differs() -> None:
    assert judge(Y, {}, RULE) == ("differs", "output 'y' is missing")


@given(drawn=arrays(), at=st.integers(0))
def test_the_first_difference_is_found(drawn: tuple[str, Any], at: int) -> None:
    _, array = drawn
    if array.size == 0 or array.dtype != object:
        array = np.zeros((2, 3))
    other = array.copy()
    at %= array.size
    other.reshape(-1)[at] = "another" if array.dtype == object else 1.0
    if array.dtype == object and array.reshape(-1)[at] in ("another", b"another"):
        return
    place = [int(index) for index in np.unravel_index(at, array.shape)]
    assert difference({"y": array}, {"y": other}, RULE).endswith(f"at {place}")


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    if inputs["x"][0, 0] == 13:
        raise NodeError("net", "not that one")
    return {"doubled": inputs["x"] * 2, "rows": np.array(len(inputs["x"]))}


@pytest.fixture(scope="module")
def graph() -> Iterator[str]:
    with serving(GraphApp(make_arms(double))) as url:
        yield f"{url}/v2/models/demo"


def replayed(url: str, events: list[LogEvent | None], **pace: Any) -> Replayed:
    return asyncio.run(replay.replay(url, iter(events), RULE, ReplayPace(**pace), 30))


def of(number: float, times: float = 2) -> LogEvent:
    x = np.array([[number, 1]], np.float32)
    return event({"x": x}, {"doubled": x * np.float32(times), "rows": np.array(1)})


def test_a_replay(graph: str) -> None:
    good: list[LogEvent | None] = [of(number) for number in range(50) if number != 13]
    found = replayed(graph, [*good, of(1, 2.0001), of(2, 3), of(13), None])
    assert found.outcomes == {"equal": 49, "close": 1, "differs": 1, "failed": 1}
    assert (found.sent, found.is_good, found.skipped) == (52, False, {"unreadable": 1})
    assert {(one.outcome, one.detail) for one in found.remarks} == {
        ("differs", "output 'doubled': 4.0 instead of 6.0 at [0, 0]"),
        ("failed", "status 500: node 'net' failed: not that one"),
    }
    assert replayed(graph, good).is_good
    assert replayed(f"{graph}/versions/3", good).is_good


def test_only_the_first_remarks_are_kept(graph: str) -> None:
    found = replayed(graph, [of(1, 3)] * 50)
    assert (found.outcomes["differs"], len(found.remarks)) == (50, replay.SHOWN)


def test_nothing_is_read_ahead_of_the_limit(graph: str) -> None:
    def endless() -> Iterator[LogEvent]:
        while True:
            yield of(1)

    found = asyncio.run(replay.replay(graph, endless(), RULE, ReplayPace(4, limit=20), 30))
    assert found.outcomes == {"equal": 20}


def test_a_rate_is_kept_to(graph: str) -> None:
    found = replayed(graph, [of(1)] * 10, rate=100.0)
    assert found.seconds >= 10 / 100
    assert found.sent == 10


def test_nothing_to_send_is_not_good(graph: str) -> None:
    assert not replayed(graph, [None]).is_good


def test_a_graph_that_is_not_there(graph: str) -> None:
    found = replayed(graph.replace("demo", "else"), [of(1)])
    assert found.remarks[0].detail.startswith("status 404")
    assert replayed("http://127.0.0.1:1/v2/models/demo", [of(1)]).outcomes == {"failed": 1}
