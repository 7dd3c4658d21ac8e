"""What a router logs of the requests that its arms answer, and that logging never holds them up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import RequestLog, Telemetry
from anabranch.telemetry import outlet
from anabranch.telemetry.registry import Observed, Registry
from tests.control import web
from tests.control.web import Answer

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    x = inputs["x"]
    x *= 2  # in place
    return {"doubled": x, "rows": np.array(len(x))}


async def broken(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    raise NodeError("net", "it broke")


class Logged:
    """A graph behind ASGI whose revisions have logs."""

    def __init__(self, demo: Any, folder: Path, logs: Mapping[int, Any], **fields: Any) -> None:
        self.registry = Registry()
        self.graph = demo(dict.fromkeys(logs, fields.pop("step", double)))
        draws = iter(fields.pop("draws", ()))
        settings = LogSettings(folder)
        self.logs = RequestLogs("demo", "router", settings, lambda: next(draws), self.registry)
        heads = self.graph._head
        self.arms = Arms("demo", heads, RequestLimits(), lambda: 0.0, logs=self.logs)
        self.graph.app = GraphApp(self.arms)
        self.folder = folder / "demo"
        self.apply(logs)

    def apply(self, logs: Mapping[int, Any], generation: int = 1) -> None:
        signature = self.graph.signature()
        revisions = {
            number: signature.__class__(
                signature.inputs, signature.outputs, signature.timeout,
                telemetry=Telemetry(requests=log and RequestLog.model_validate(log)),
            )
            for number, log in logs.items()
        }  # fmt: skip
        weights = dict.fromkeys(logs, 1.0)
        self.arms.apply(self.graph.table(weights, generation, revisions=revisions))

    def ask(self, *paths: str, body: Any = BODY, **headers: str) -> list[int]:
        async def each() -> list[int]:
            asked = [self.graph.ask(path, body, headers) for path in paths or ("/infer",)]
            return [(await one)[0] for one in asked]

        return asyncio.run(each())

    def events(self) -> list[Any]:
        """What is in the files once all is closed."""
        self.close()
        paths = sorted(self.folder.glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def close(self) -> None:
        """Close the logs once all that was selected is through."""
        if self.logs._outlet is not None:
            assert self.logs._outlet.close(60)
        self.logs.close()

    def counts(self) -> dict[str, float]:
        """selected, sent and dropped."""
        found: dict[str, float] = {}
        for name, cells in self.registry.snapshot().items():
            word = name.removeprefix("anabranch_outlet_").removesuffix("_total")
            for value in cells.values():
                assert not isinstance(value, Observed)
                found[word] = found.get(word, 0) + value
        return found


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "PAUSE_S", 0.0)


@pytest.fixture
def logged(demo: Any, tmp_path: Path) -> Iterator[Callable[..., Logged]]:
    made: list[Logged] = []

    def make(logs: Mapping[int, Any], **fields: Any) -> Logged:
        made.append(Logged(demo, tmp_path, logs, **fields))
        return made[-1]

    yield make
    for one in made:
        one.logs.close()


def test_a_request_as_it_came_with_its_reply(logged: Callable[..., Logged]) -> None:
    one = logged({3: {}})
    assert one.ask(**{"x-request-id": "a-1"}) == [200]
    (event,) = one.events()
    assert event["id"] == "a-1"
    assert event["data"]["request"]["inputs"] == BODY["inputs"]
    outputs = {item["name"]: item["data"] for item in event["data"]["response"]["outputs"]}
    assert outputs == {"doubled": [2.0, 4.0], "rows": [1]}
    assert one.counts() == {"selected": 1, "sent": 1, "dropped": 0, "waiting": 0}
    assert len(list(one.folder.glob("r3-router-*.jsonl"))) == 1


def test_a_graph_without_a_log_writes_and_counts_nothing(logged: Callable[..., Logged]) -> None:
    one = logged({3: None})
    assert one.ask() == [200]
    assert one.events() == []
    assert one.counts() == {}


def test_a_share_is_drawn(logged: Callable[..., Logged]) -> None:
    one = logged({3: {"sample": "25%"}}, draws=[0.1, 0.25, 0.9, 0.2499])
    assert one.ask(*["/infer"] * 4) == [200] * 4
    assert len(one.events()) == 2
    assert one.counts()["selected"] == 2


def test_each_arm_has_its_own_log(logged: Callable[..., Logged]) -> None:
    one = logged({1: {"redact": ["x"]}, 2: None, 3: {}})
    one.ask(*(f"/versions/{number}/infer" for number in (1, 2, 3, 3)))
    data = [event["data"] for event in one.events()]
    assert [found["revision"] for found in data] == [1, 3, 3]
    assert [found["request"]["inputs"][0].get("redacted") for found in data] == [True, None, None]


def test_what_fails_is_logged_too(logged: Callable[..., Logged]) -> None:
    one = logged({3: {}}, step=broken)
    wrong = {"inputs": [{**BODY["inputs"][0], "name": "y"}]}
    assert one.ask() == [500]
    assert one.ask(body=wrong) == [400]
    assert one.ask(body={"inputs": 1}) == [400]  # reached no arm
    errors = [event["data"]["error"]["class"] for event in one.events()]
    assert errors == ["NodeError", "InvalidRequest"]


def test_a_revision_that_goes_has_its_file_closed(logged: Callable[..., Logged]) -> None:
    one = logged({1: {}, 2: {}})
    one.ask("/versions/1/infer", "/versions/2/infer")
    one.apply({2: {}}, 2)
    one.ask("/infer")
    assert [event["data"]["revision"] for event in one.events()] == [1, 2, 2]
    one.apply({1: {}, 2: {}}, 3)
    assert one.counts()["sent"] == 3


async def spelled(inputs: Mapping[str, Any], context: Context) -> Any:
    for number in range(3):
        yield {"doubled": inputs["x"] + number, "rows": np.array(1)}
    if inputs["x"][0, 0] == 13:
        raise NodeError("net", "it broke")


def test_a_graph_that_streams(logged: Callable[..., Logged]) -> None:
    one = logged({3: {}}, step=spelled)

    async def stream(first: float, most: int = 9) -> None:
        asked = InferenceRequest(
            {"x": np.array([[first, 0]], np.float32)},
            endpoint="generate",
            request_id=f"id-{first:g}",
        )
        responses = one.arms.stream(asked)
        async with aclosing(responses):
            for _ in range(most):
                await anext(responses, None)

    asyncio.run(stream(1))
    with pytest.raises(NodeError):
        asyncio.run(stream(13))
    asyncio.run(stream(2, most=1))  # the client hangs up: nobody knows what it would have got
    whole, failed = (event["data"] for event in one.events())
    assert [part["outputs"][0]["data"] for part in whole["responses"]] == [[1, 0], [2, 1], [3, 2]]
    assert (failed["error"]["class"], failed["endpoint"]) == ("NodeError", "generate")


def test_a_stream_that_was_answered_before_its_end(logged: Callable[..., Logged]) -> None:
    one = logged({3: {}}, step=spelled)

    async def stream() -> None:
        asked = InferenceRequest({"x": np.array([[1, 0]], np.float32)})
        async with aclosing(one.arms.stream(asked)) as responses:
            await anext(responses)
            asked.is_answered = True

    asyncio.run(stream())
    (told,) = (event["data"] for event in one.events())
    assert told["response"]["outputs"][0]["data"] == [1, 0]


def test_a_sink_that_cannot_be_opened_costs_events_and_nothing_else(
    logged: Callable[..., Logged], tmp_path: Path
) -> None:
    (tmp_path / "demo").touch()
    one = logged({3: {}})
    assert one.ask(*["/infer"] * 5) == [200] * 5
    one.close()
    assert one.counts() == {"selected": 5, "sent": 0, "dropped": 5, "waiting": 0}


@contextmanager
def hanging() -> Iterator[tuple[str, threading.Event]]:
    with web.running() as server:
        server.answer = server.hang
        yield f"{server.url}/logs", server.closing


@pytest.mark.parametrize("status", [200, 400, 500])
def test_selected_is_sent_and_dropped(
    logged: Callable[..., Logged], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.router.request_log.http.RETRY_S", 0.0)
    with web.running(lambda _: Answer(status)) as server:
        one = logged({3: {"to": f"{server.url}/logs"}})
        assert one.ask(*["/infer"] * 50) == [200] * 50
        one.close()
        assert {asked.path for asked in server.asked} == {"/logs"}
    counts = one.counts()
    assert counts["selected"] == 50 == counts["sent"] + counts["dropped"]
    assert counts["sent"] == (50 if status == 200 else 0)


def test_a_sink_that_hangs_holds_nobody_up(logged: Callable[..., Logged]) -> None:
    with hanging() as (url, release):
        one = logged({3: {"to": url}})
        assert one.ask(*["/infer"] * 20) == [200] * 20
        waiting = one.counts()
        assert waiting["selected"] == 20 == waiting["waiting"]
        release.set()
        one.logs.close()
    counts = one.counts()
    assert counts["selected"] == counts["sent"] + counts["dropped"] + counts["waiting"]
