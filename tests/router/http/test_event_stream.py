"""generate and generate_stream over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from msgspec.structs import replace

from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, NodeError, NotFound, Unavailable
from anabranch.router.http.event_stream import to_events
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from tests.router.conftest import Demo, Serving, make_arms
from tests.waiting import until

Make = Callable[..., Any]
Serve = Callable[[Any], str]
ASK = {"x": [1, 2]}


class Counting:
    """Streams as many results as the parameter ``upto`` says, and notes how it ended."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = asyncio.Event()

    async def __call__(
        self, inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        asked = context.parameters
        try:
            for index in range(int(asked.get("upto", 3))):
                self.made += 1
                size = int(asked.get("size", 0))
                yield {
                    "doubled": inputs["x"] * 2,
                    "rows": np.array(f"{index}," + " " * size, object),
                }
                if asked.get("hang"):
                    await asyncio.sleep(60)
                if asked.get("fail"):
                    raise RuntimeError("secret")
        finally:
            self.closed.set()


def start(
    serve: Serve, step: Any, limits: RequestLimits | None = None, **signature: Any
) -> tuple[Arms, str]:
    arms = make_arms(step, limits, **signature)
    return arms, f"{serve(GraphApp(arms))}/v2/models/demo"


@pytest.fixture(scope="module")
def streaming(server: Serving) -> Iterator[tuple[Arms, str]]:
    arms = make_arms(Counting())
    with server(GraphApp(arms)) as address:
        yield arms, f"{address}/v2/models/demo"


def events(reply: httpx.Response) -> list[Any]:
    """The documents of a response of server-sent events."""
    lines = reply.text.split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def stream(url: str, body: Any = ASK, **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/generate_stream", json={**body, "parameters": parameters})


def test_each_result_is_an_event(streaming: Any) -> None:
    reply = stream(streaming[1], upto=2)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert len(reply.headers["x-request-id"]) == 32
    header = {"model_name": "demo", "model_version": "3"}
    assert events(reply) == [
        header | {"doubled": [[2, 4]], "text_output": "0,", "done": False},
        header | {"doubled": [[2, 4]], "text_output": "1,", "done": False},
        header | {"text_output": "", "done": True},
    ]


def test_an_empty_stream_is_one_event(streaming: Any) -> None:
    assert [event["done"] for event in events(stream(streaming[1], upto=0))] == [True]


@pytest.mark.parametrize("path", ["", "/versions/3"])
def test_generate_joins_texts_only(streaming: Any, path: str) -> None:
    def ask(**parameters: Any) -> httpx.Response:
        url = f"{streaming[1]}{path}/generate"
        return httpx.post(url, json={**ASK, "parameters": parameters})

    assert ask(upto=1).json()["text_output"] == "0,"
    reply = ask(upto=3)
    assert reply.status_code == 400
    assert "'doubled' streams FP32[1, 2]" in reply.json()["error"]
    assert "generate_stream" in reply.json()["error"]


def test_an_error_before_the_first_event_has_its_status(streaming: Any) -> None:
    assert stream(streaming[1], {"x": [1]}).status_code == 400
    assert stream(streaming[1], {"y": [1]}).status_code == 400
    assert stream(f"{streaming[1]}/versions/9").status_code == 404
    assert httpx.get(f"{streaming[1]}/generate_stream").status_code == 405


def test_a_later_error_is_the_last_event_and_tells_no_secret(streaming: Any) -> None:
    reply = stream(streaming[1], fail=True)
    assert reply.status_code == 200
    assert [list(event) for event in events(reply)][1:] == [["error"]]
    assert "secret" not in reply.text
    assert reply.headers["x-request-id"] in events(reply)[1]["error"]


def test_the_deadline_holds_for_the_whole(streaming: Any) -> None:
    reply = stream(streaming[1], hang=True, timeout=100_000)
    assert [list(event) for event in events(reply)][1:] == [["error"]]
    assert "within 0.1s" in reply.text


def test_a_graph_that_does_not_stream_gives_one_event(graph: Make) -> None:
    url = graph()
    assert [event.get("rows") for event in events(stream(url))] == [1, None]
    assert httpx.post(f"{url}/generate", json=ASK).json() == {
        "model_name": "demo",
        "model_version": "3",
        "doubled": [[2, 4]],
        "rows": 1,
    }


def test_streams_are_counted_like_other_requests(serve: Serve) -> None:
    arms, url = start(serve, Counting())
    stream(url)
    stream(url, fail=True)
    stream(url, {"x": [1]})
    stream(f"{url}/versions/3")
    tally = arms.report().arms[3]
    assert (tally.requests, tally.errors) == (2, 1)


def test_a_stream_holds_its_place_until_it_ends(serve: Serve) -> None:
    _, url = start(serve, Counting(), RequestLimits(max_ongoing=1))
    with httpx.stream("POST", f"{url}/generate_stream", json=ASK | {"hang": True}) as reply:
        raw = reply.iter_raw()
        next(raw)
        assert stream(url).status_code == 503
    until(lambda: stream(url).status_code == 200)
    assert stream(url, {"x": [1]}).status_code == 400
    assert stream(url).status_code == 200


@contextmanager
def asking(url: str, body: Any) -> Iterator[socket.socket]:
    """A connection on which something is asked, and which hangs up at the end."""
    at, content = httpx.URL(url), json.dumps(body).encode()
    head = f"POST {at.path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.create_connection((at.host, at.port)) as connection:
        connection.sendall(head.encode() + content)
        yield connection


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_a_client_that_hangs_up_cancels_the_component(serve: Serve, path: str) -> None:
    step = Counting()
    _, url = start(serve, step)
    with asking(f"{url}/{path}", ASK | {"hang": True, "upto": 9}):
        until(lambda: step.made)
    until(step.closed.is_set)
    assert step.made == 1


def test_a_client_that_reads_nothing_stops_the_component(serve: Serve) -> None:
    """It goes on only as fast as its results are taken."""
    step = Counting()
    _, url = start(serve, step)
    body = ASK | {"upto": 10_000, "size": 100_000}
    with asking(f"{url}/generate_stream", body) as connection:
        connection.recv(1)
        made = -1
        while made != step.made:
            made = step.made
            assert stream(url, {"x": [1]}).status_code == 400
            connection.settimeout(0.2)
        assert 1 <= made < 500


def test_what_was_held_is_released_where_nothing_was_made() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        raise RuntimeError
        yield b""

    async def main() -> None:
        released: list[int] = []
        held = ExitStack()
        held.callback(released.append, 1)
        with pytest.raises(RuntimeError):
            await anext(to_events(broken(), held, "r1"))
        assert released == [1]

    asyncio.run(main())


REQUEST = InferenceRequest({"x": np.ones((1, 2), np.float32)})


async def versions(graph: Demo, request: InferenceRequest = REQUEST, **asked: Any) -> list[str]:
    return [one.model_version async for one in graph.arms.stream(request, **asked)]


def two(second: Any, draws: list[float], limits: RequestLimits | None = None) -> Demo:
    graph = Demo({1: Counting(), 2: second}, limits, draws)
    graph.apply({1: 50, 2: 50})
    return graph


def test_a_stream_stays_with_the_revision_that_was_chosen() -> None:
    async def main() -> None:
        graph = two(Counting(), [0.1, 0.9])
        assert await versions(graph) == ["1", "1", "1"]
        assert await versions(graph) == ["2", "2", "2"]
        assert await versions(graph, revision="2") == ["2", "2", "2"]
        arms = graph.arms.report().arms
        assert [arms[number].requests for number in (1, 2)] == [1, 1]
        with pytest.raises(NotFound):
            await versions(graph, revision=9)

    asyncio.run(main())


def test_a_revision_is_charged_with_what_goes_wrong_in_mid_stream() -> None:
    async def breaks(inputs: Any, context: Context) -> AsyncGenerator[dict[str, Any], None]:
        yield {"doubled": inputs["x"], "rows": np.array(1)}
        raise NodeError("n", "no luck")

    async def main() -> None:
        graph = two(breaks, [0.9])
        found = graph.arms.stream(REQUEST)
        await anext(found)
        with pytest.raises(NodeError):
            await anext(found)
        arms = graph.arms.report().arms
        assert (arms[2].requests, arms[2].errors, arms[1].requests) == (1, 1, 0)

    asyncio.run(main())


def test_streams_of_other_revisions_leave_the_stable_one_room() -> None:
    async def main() -> None:
        graph = two(Counting(), [0.9, 0.9, 0.1, 0.9], RequestLimits(max_ongoing=2))
        held = graph.arms.stream(REQUEST)
        await anext(held)
        with pytest.raises(Unavailable, match="others than the stable revision"):
            await versions(graph)
        assert await versions(graph) == ["1", "1", "1"]
        await held.aclose()
        assert await versions(graph) == ["2", "2", "2"]

    asyncio.run(main())


def test_a_stream_that_is_closed_is_not_counted() -> None:
    async def main() -> None:
        graph = two(Counting(), [0.9])
        found = graph.arms.stream(REQUEST)
        await anext(found)
        await found.aclose()
        assert graph.arms.report().arms[2].requests == 0

    asyncio.run(main())


def test_the_time_of_a_request_runs_while_nobody_asks() -> None:
    async def main() -> None:
        graph = two(Counting(), [0.1])
        request = replace(REQUEST, parameters={"timeout": 1})
        found = graph.arms.stream(request)
        with pytest.raises(DeadlineExceeded):
            await asyncio.sleep(0.001)
            await anext(found)
            await asyncio.sleep(0.001)
            await anext(found)

    asyncio.run(main())
