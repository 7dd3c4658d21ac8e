"""What of ASGI no HTTP client can show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from anabranch.router.errors import ClientGone
from anabranch.router.http.app import CancelOnDisconnect, HttpApp, json_reply
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.request import MAX_PIECES, BodyRule, HttpRequest
from anabranch.router.limits import RequestLimits
from tests.router.conftest import Run

Make = Callable[..., Any]
RULE = BodyRule.of(RequestLimits(max_body=3, body_timeout=1.0, max_arriving=6))


def call(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Run an application over a connection that gives ``messages``; returns what it sends."""
    waiting = list(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def http(path: str, root_path: str = "", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": root_path} | (
        {"headers": []} | more
    )


def test_lifespan_is_answered(arms: Make) -> None:
    sent = call(
        GraphApp(arms()),
        {"type": "lifespan"},
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
    )
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_websockets_are_refused(arms: Make) -> None:
    sent = call(GraphApp(arms()), {"type": "websocket"}, {"type": "websocket.connect"})
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/v2/models/demo/ready", ""),
        ("/v2/models/demo/ready", "/"),
        ("/v2/models/demo/ready", "/v2/models/demo"),
        ("/ready", "/v2/models/demo"),
        ("/outer/v2/models/demo/ready", "/outer"),
        ("/outer/v2/models/demo/ready", "/outer/v2/models/demo"),
    ],
)
def test_paths_are_found_whatever_the_server_takes_for_root(
    arms: Make, path: str, root_path: str
) -> None:
    assert call(GraphApp(arms()), http(path, root_path))[0]["status"] == 200


@pytest.mark.parametrize("path", ["/v2/models/demos/ready", "/v2/models/demoready", "/ready/x"])
def test_paths_match_by_whole_segments(arms: Make, path: str) -> None:
    assert call(GraphApp(arms()), http(path, "/v2/models/demo"))[0]["status"] == 404


def test_the_request_id_is_sent_back(arms: Make) -> None:
    scope = http("/v2/models/demo", headers=[(b"x-request-id", b"r1")])
    headers = call(GraphApp(arms()), scope)[0]["headers"]
    assert [value for name, value in headers if name == b"x-request-id"] == [b"r1"]


def test_a_body_of_undeclared_length_in_one_piece_is_measured() -> None:
    async def read(request: HttpRequest) -> Any:
        return json_reply((await request.body(RULE)).decode())

    for size, status in ((3, 200), (4, 413)):
        message = {"type": "http.request", "body": b"x" * size}
        assert call(HttpApp(read), http("/", method="POST"), message)[0]["status"] == status


async def length_of(request: HttpRequest) -> Any:
    rule = BodyRule.of(
        RequestLimits(max_body=10**6, body_timeout=30.0, body_grace=1.0, body_rate=1000)
    )
    return json_reply(len(await request.body(rule)))


def pieces(count: int, size: int = 1) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": b"x" * size, "more_body": left > 0}
        for left in reversed(range(count))
    ]


@pytest.mark.parametrize(("count", "status"), [(MAX_PIECES, 200), (MAX_PIECES + 1, 413)])
def test_a_body_comes_in_so_many_pieces(count: int, status: int) -> None:
    app = HttpApp(length_of)
    assert call(app, http("/", method="POST"), *pieces(count))[0]["status"] == status


def slowly(run: Run, count: int, size: int, pause: float) -> tuple[int, int]:
    """Status of a body that comes in pieces with a pause before each, and how many were left."""
    app: Any = HttpApp(length_of)
    waiting, sent = pieces(count, size), []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    run(app(http("/", method="POST"), receive, send))
    return sent[0]["status"], len(waiting)


def test_a_body_that_keeps_its_rate_may_take_long(timeless: Run) -> None:
    assert slowly(timeless, 60, 1000, 0.3)[0] == 200


def test_a_body_that_falls_behind_is_not_waited_for(timeless: Run) -> None:
    """It has a second, and a thousandth of one for each byte."""
    assert slowly(timeless, 1000, 1, 0.02) == (408, 1000 - 53)


@pytest.mark.parametrize("count", [2, 3])
def test_what_bodies_hold_on_their_way_is_bounded_and_let_go(count: int) -> None:
    """Two of them are on their way, and wait for the third."""

    async def read(request: HttpRequest) -> Any:
        return json_reply((await request.body(RULE)).decode())

    async def main() -> list[int]:
        go_on = asyncio.Event()

        async def one() -> int:
            waiting = [{"type": "http.request", "body": b"xxx", "more_body": True}]
            sent: list[Any] = []

            async def receive() -> Any:
                if waiting:
                    return waiting.pop()
                await go_on.wait()
                return {"type": "http.request", "body": b""}

            async def send(message: Any) -> None:
                sent.append(message)

            await HttpApp(read)(http("/", method="POST"), receive, send)
            return int(sent[0]["status"])

        tasks = [asyncio.create_task(one()) for _ in range(count)]
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [200, 200, 503][:count]
    assert RULE.arriving.held == 0


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", [(b"host", b"x")], 200),
        ("1.1", [(b"host", b"")], 200),
        ("1.1", [], 400),
        ("1.0", [], 200),
        ("2", [], 200),
    ],
)
def test_a_missing_host_is_refused(arms: Make, version: str, headers: Any, status: int) -> None:
    scope = http("/v2/models/demo/ready", headers=headers, http_version=version)
    assert call(GraphApp(arms()), scope)[0]["status"] == status


@pytest.mark.parametrize("length", [b"-1", b"1x", "²".encode("latin-1"), b"1" * 5000])
def test_a_content_length_that_is_none_is_refused(length: bytes) -> None:
    async def read(request: HttpRequest) -> Any:
        return json_reply((await request.body(RULE)).decode())

    sent = call(HttpApp(read), http("/", method="POST", headers=[(b"content-length", length)]))
    assert sent[0]["status"] in (400, 413)


def test_nothing_is_sent_to_a_client_that_is_gone() -> None:
    async def read(request: HttpRequest) -> Any:
        return json_reply((await request.body(RULE)).decode())

    assert call(HttpApp(read), http("/", method="POST"), {"type": "http.disconnect"}) == []


def test_a_cancelled_task_is_not_taken_for_a_client_that_is_gone() -> None:
    async def silent() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def work() -> None:
        async with CancelOnDisconnect(silent):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_client_that_is_gone_cancels_once_and_leaves_the_task_usable() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def main() -> None:
        with pytest.raises(ClientGone):
            async with CancelOnDisconnect(gone):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(main())
