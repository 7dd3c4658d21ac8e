"""Requests are counted as clients see them: each reply once, whatever it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.router.http.app import HttpApp
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.requests import Requests
from anabranch.telemetry.definitions import REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT
from anabranch.telemetry.registry import REGISTRY, Observed, Registry
from anabranch.telemetry.trace import Trace
from tests.router.conftest import BODY, make_arms
from tests.waiting import until

Serve = Callable[[Any], str]


def now() -> dict[tuple[str, ...], float]:
    """Requests of the graph of these tests so far, by endpoint, protocol and code."""
    cells = REGISTRY.snapshot().get(REQUESTS.name, {})
    return {key[1:]: value for key, value in cells.items() if key[0] == "demo"}  # type: ignore[misc]


def durations() -> int:
    cells = REGISTRY.snapshot().get(REQUEST_DURATION.name, {})
    return sum(v.number for v in cells.values() if isinstance(v, Observed))


def in_flight() -> Any:
    return REGISTRY.snapshot()[REQUESTS_IN_FLIGHT.name]["demo",]


class Grown:
    """What was counted since it was made."""

    def __init__(self) -> None:
        self._before, self._durations = now(), durations()

    def __call__(self) -> dict[tuple[str, ...], float]:
        until(lambda: in_flight() == 0)  # a client has its reply before that is counted
        found = {key: value - self._before.get(key, 0) for key, value in now().items()}
        assert durations() - self._durations == sum(found.values())
        return {key: value for key, value in found.items() if value}


@pytest.fixture
def grown() -> Iterator[Grown]:
    REGISTRY.number(REQUESTS_IN_FLIGHT, "demo")
    yield Grown()


async def moody(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    if context.parameters.get("fail"):
        raise NodeError("n", "no luck")
    if context.parameters.get("odd"):
        raise ZeroDivisionError
    return {"doubled": inputs["x"] * 2, "rows": np.array(1)}


def test_each_reply_counts_once(serve: Serve, grown: Grown) -> None:
    url = f"{serve(GraphApp(make_arms(moody)))}/v2/models/demo"
    asked: list[tuple[str, str, Any, str]] = [
        ("POST", "/infer", BODY, "infer"),
        ("POST", "/infer/", BODY, "infer"),
        ("POST", "/versions/3/infer", BODY, "infer"),
        ("POST", "/versions/9/infer", BODY, "infer"),
        ("POST", "/infer", {**BODY, "parameters": {"fail": True}}, "infer"),
        ("POST", "/infer", {**BODY, "parameters": {"odd": True}}, "infer"),
        ("POST", "/infer", {"inputs": []}, "infer"),
        ("GET", "/infer", None, "infer"),
        ("POST", "/explain", BODY, "explain"),
        ("POST", "/generate", {"x": [[1, 2]]}, "generate"),
        ("POST", "/generate_stream", {"x": [[1, 2]]}, "generate_stream"),
        ("POST", "/feedback", {}, "other"),
        ("GET", "", None, "other"),
        ("GET", "/ready", None, "other"),
        ("GET", "/nowhere", None, "other"),
        ("GET", "/nowhere/infer", None, "other"),
    ]
    expected: dict[tuple[str, ...], int] = {}
    for method, path, body, endpoint in asked:
        reply = httpx.request(method, url + path, json=body)
        key = (endpoint, "http", str(reply.status_code))
        expected[key] = expected.get(key, 0) + 1
    assert grown() == expected
    assert {code for _, _, code in expected} >= {"200", "400", "404", "405", "500"}


def test_what_is_refused_for_its_size_counts(serve: Serve, grown: Grown) -> None:
    limits = RequestLimits(max_body=10, max_headers=2000)
    url = f"{serve(GraphApp(make_arms(moody, limits)))}/v2/models/demo"
    assert httpx.post(f"{url}/infer", json=BODY).status_code == 413
    assert httpx.get(url, headers={"x-long": "x" * 2000}).status_code == 431
    assert grown() == {("infer", "http", "413"): 1, ("other", "http", "431"): 1}


def call(app: Any, path: str, receive: Any, send: Any) -> Any:
    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": []}
    return app(scope, receive, send)


def test_a_client_that_hangs_up_before_it_is_answered_counts_as_499(grown: Grown) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    asyncio.run(call(GraphApp(make_arms()), "/v2/models/demo/infer", receive, send))
    assert grown() == {("infer", "http", "499"): 1}


def test_one_that_leaves_in_the_middle_of_a_stream_too(grown: Grown) -> None:
    async def endless(inputs: Mapping[str, Any], context: Context) -> Any:
        while True:
            yield {"doubled": inputs["x"] * 2, "rows": np.array(1)}
            await asyncio.sleep(0.01)

    async def main() -> None:
        taken = asyncio.Event()
        messages: list[Any] = [{"type": "http.request", "body": b'{"x": [[1, 2]]}'}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await taken.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                taken.set()

        app: Any = GraphApp(make_arms(endless))
        await call(app, "/v2/models/demo/generate_stream", receive, send)

    asyncio.run(main())
    assert grown() == {("generate_stream", "http", "499"): 1}


def test_a_request_that_the_server_gives_up_counts_as_499(grown: Grown) -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def hang(inputs: Any, context: Context) -> Any:
            began.set()
            await asyncio.sleep(60)

        body = httpx.Request("POST", "http://x", json=BODY).content

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            raise AssertionError(message)

        app = GraphApp(make_arms(hang))
        task = asyncio.create_task(call(app, "/v2/models/demo/infer", receive, send))
        await began.wait()
        assert in_flight() == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert grown() == {("infer", "http", "499"): 1}


def test_a_traced_request_is_an_example() -> None:
    registry = Registry()
    requests = Requests("demo", "http", registry)
    requests.ended("infer", 200, requests.began(), None)
    requests.ended("infer", 200, requests.began(), Trace("ab" * 16, "cd" * 8))
    found = registry.snapshot()[REQUEST_DURATION.name]["demo", "infer", "http"]
    assert isinstance(found, Observed)
    assert (found.number, len(found.exemplars)) == (2, 1)
    assert found.exemplars[0][1].trace_id == "ab" * 16


def test_what_belongs_to_no_graph_is_not_counted(serve: Serve, grown: Grown) -> None:
    async def answer(request: Any) -> Any:
        raise ZeroDivisionError

    assert httpx.get(serve(HttpApp(answer))).status_code == 500
    assert grown() == {}
