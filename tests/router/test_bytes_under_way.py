"""Large requests: what they hold is bounded and given back, and small ones are answered beside."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc import StatusCode

from anabranch.errors import Unavailable
from anabranch.router.grpc.framing import framed
from anabranch.router.grpc.lean_calls import INFER, LeanCalls, beside
from anabranch.router.http import compression, graph_app
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import LARGE, Arriving, BytesUnderWay, HeldBytes, RequestLimits
from anabranch.router.traffic.arms import Arms
from tests.router.conftest import BODY, double, lean_serving, make_arms
from tests.router.grpc.conftest import infer_request, served
from tests.router.grpc.lean import lean_served
from tests.waiting import until

ROWS = 20_000
LARGE_BODY = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [ROWS, 2], "data": [0.5] * 2 * ROWS}]
}
TENSOR = 2 * ROWS * 4


def test_bytes_are_counted_in_the_graph_and_in_the_process() -> None:
    process = BytesUnderWay(150, "this process")
    one, other = (BytesUnderWay(100, f"graph {name!r}", process) for name in "ab")
    with HeldBytes(one) as held, HeldBytes(other) as second:
        held.add(60)
        with pytest.raises(Unavailable, match=r"60 bytes, and 41 more .* of graph 'a'"):
            held.add(41)
        with pytest.raises(Unavailable, match=r"60 bytes, .* 150 bytes of this process"):
            second.add(91)
        second.add(90)
        assert (one.held, other.held, process.held) == (60, 90, 150)
    assert (one.held, other.held, process.held) == (0, 0, 0)


def test_a_part_of_what_is_held_is_given_back_by_itself() -> None:
    process = BytesUnderWay(100, "this process")
    with HeldBytes(process) as held:
        held.add(60)
        part = held.split(40)
        assert process.held == 60
        held.add(40)
        part.release()
        assert process.held == 60
    assert process.held == 0


def test_bodies_from_one_address_leave_room_to_others_while_they_arrive() -> None:
    arriving = Arriving(100)
    arriving.add(50, "::1")
    with pytest.raises(Unavailable, match=r"from this address hold 50 bytes, .* limit of 50;"):
        arriving.add(1, "::1")
    arriving.add(40, "::2")
    arriving.add(10)
    with pytest.raises(Unavailable, match=r"on their way hold 100 bytes, .* limit of 100;"):
        arriving.add(1, "::3")
    arriving.remove(50, "::1")
    arriving.add(50, "::1")
    for size, address in ((50, "::1"), (40, "::2"), (10, "")):
        arriving.remove(size, address)
    assert arriving.held == 0


class Waiting:
    """A step that waits until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    async def __call__(self, inputs: Any, context: Any) -> dict[str, Any]:
        self.begun.set()
        await asyncio.to_thread(self.go_on.wait, 60)
        return await double(inputs, context)


async def large(inputs: Any, context: Any) -> dict[str, Any]:
    return {"doubled": np.zeros((2 * 10**6, 2), np.float32), "rows": np.array(1)}


@pytest.fixture
def graph() -> Iterator[Callable[..., tuple[str, Arms]]]:
    """Serve a graph with a lean server; returns the address of its model, and its arms."""
    with ExitStack() as stack:

        def start(*args: Any, **limits: int) -> tuple[str, Arms]:
            arms = make_arms(*args, limits=RequestLimits(**limits))
            url = stack.enter_context(lean_serving(GraphApp(arms)))
            return f"{url}/v2/models/demo", arms

        yield start


def infer(url: str, body: Any = BODY) -> httpx.Response:
    return httpx.post(f"{url}/infer", json=body, timeout=60)


def test_what_a_large_request_holds_keeps_another_out_until_it_is_over(graph: Any) -> None:
    step = Waiting()
    size = len(httpx.Request("POST", "http://x", json=LARGE_BODY).content)
    url, arms = graph(step, max_under_way=2 * size)
    first = threading.Thread(target=infer, args=(url, LARGE_BODY))
    first.start()
    assert step.begun.wait(60)
    assert arms.under_way.held == size + TENSOR
    refused = infer(url, LARGE_BODY)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"] == (
        f"large requests hold {size + TENSOR} bytes, and {size} more would be over the limit of "
        f"{2 * size} bytes of graph 'demo'; try again later"
    )
    step.go_on.set()
    assert infer(url).status_code == 200
    first.join()
    until(lambda: arms.under_way.held == 0)


@pytest.mark.parametrize("path", ["infer", "generate", "generate_stream"])
def test_what_was_held_is_given_back_whatever_comes(graph: Any, path: str) -> None:
    url, arms = graph(max_body=10**6)
    plain = {"x": [[0.5, 0.5]] * ROWS}
    good = LARGE_BODY if path == "infer" else plain
    for body in (good, {"inputs": "x" * 2 * LARGE}, {**good, "id": 7}):
        httpx.post(f"{url}/{path}", json=body, timeout=60)
        until(lambda: arms.under_way.held == 0)


def test_a_reply_counts_until_its_client_has_taken_it(graph: Any) -> None:
    url, arms = graph(large)
    at = httpx.URL(url)
    with socket.create_connection((at.host, at.port), timeout=60) as connection:
        body = json.dumps(BODY).encode()
        head = f"POST {at.path}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: arms.under_way.held > 10**7)
        taken = connection.recv(2**16)
        size = int(taken.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        left = taken.index(b"\r\n\r\n") + 4 + size - len(taken)
        assert arms.under_way.held > 10**7
        while left:
            left -= len(connection.recv(left))
        until(lambda: not arms.under_way.held)
        assert infer(url).status_code == 200


def test_a_client_that_goes_amid_a_large_reply_gives_it_back(graph: Any) -> None:
    url, arms = graph(large)
    plain = {"accept-encoding": "identity"}
    with httpx.stream("POST", f"{url}/infer", json=BODY, headers=plain, timeout=300):
        until(lambda: arms.under_way.held > 10**7)
    until(lambda: arms.under_way.held == 0)


def test_an_event_of_a_stream_counts_until_its_client_has_taken_it(graph: Any) -> None:
    url, arms = graph(large)
    at = httpx.URL(url)
    with socket.create_connection((at.host, at.port), timeout=60) as connection:
        body = json.dumps({"x": [[1.0, 2.0]]}).encode()
        head = f"POST {at.path}/generate_stream HTTP/1.1\r\nhost: x\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        taken = 0
        while taken < 10**6:
            taken += len(connection.recv(2**16))
        assert arms.under_way.held > 10**7
        assert arms.gate.inside == 1
    until(lambda: arms.under_way.held == arms.gate.inside == 0)


def test_a_reply_over_grpc_counts_likewise_on_the_lean_socket() -> None:
    arms = make_arms(large)
    message = b"".join(framed(infer_request().SerializeToString()))
    head = (
        f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n"
        f"content-length: {len(message)}\r\n\r\n"
    )
    with lean_serving(beside(GraphApp(arms), LeanCalls(arms))) as url:
        at = httpx.URL(url)
        with socket.create_connection((at.host, at.port), timeout=60) as connection:
            connection.sendall(head.encode() + message)
            until(lambda: arms.under_way.held > 10**7)
            read = b""
            while arms.under_way.held or not read.endswith(b"\r\n\r\n"):
                read += connection.recv(2**20)
            assert len(read) > 2 * 10**6 * 8
            assert b"\r\ngrpc-status: 0\r\n" in read
        with socket.create_connection((at.host, at.port), timeout=60) as connection:
            connection.sendall(head.encode() + message)
            until(lambda: arms.under_way.held > 10**7)
        until(lambda: arms.under_way.held == 0)


def test_a_large_message_over_grpc_counts_once_on_either_way() -> None:
    step = Waiting()
    message = infer_request(x=np.zeros((ROWS, 2), np.float32))
    size = message.ByteSize()

    async def held(asked: asyncio.Future[Any], arms: Arms) -> int:
        await asyncio.to_thread(step.begun.wait, 60)
        found = arms.under_way.held
        step.go_on.set()
        await asked
        step.begun.clear()
        step.go_on.clear()
        return found

    async def main() -> None:
        arms = make_arms(step)
        async with served(arms) as stub:
            asked = asyncio.ensure_future(stub("ModelInfer", message))
            assert await held(asked, arms) == size + TENSOR
        async with lean_served(arms) as client:
            body = b"".join(framed(message.SerializeToString()))
            answer = asyncio.ensure_future(client.call(body))
            assert await held(answer, arms) == len(body) + TENSOR

    asyncio.run(main())


@pytest.mark.parametrize("size", [2**20 - 1, 2**20 + 1, 2**24, 2**27])
@pytest.mark.parametrize(("coding", "members"), [("gzip", 1), ("gzip", 50), ("deflate", 1)])
def test_bombs_are_refused_and_hold_nothing(
    graph: Any, coding: str, size: int, members: int
) -> None:
    url, arms = graph(max_body=2**20)
    pack = gzip.compress if coding == "gzip" else zlib.compress
    bomb = b"".join(pack(b" " * (size // members)) for _ in range(members))
    reply = httpx.post(
        f"{url}/infer", content=bomb, headers={"content-encoding": coding}, timeout=60
    )
    told = reply.json()["error"]
    if size // members * members > 2**20:
        assert (reply.status_code, told) == (
            413, f"the body unpacks to more than the limit of {2**20} bytes"
        )  # fmt: skip
    else:
        assert reply.status_code == 400
    until(lambda: arms.under_way.held == 0)


def test_large_bodies_are_unpacked_and_decoded_off_the_event_loop(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def noted(function: Any) -> Any:
        def call(*args: Any) -> Any:
            seen.append((function.__name__, threading.current_thread().name.partition("_")[0]))
            return function(*args)

        return call

    for module, name in (
        (compression.Unpacking, "go_on"),
        (graph_app, "decode_body"),
        (graph_app, "decode_generate"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    url, _ = graph()
    packed = gzip.compress(json.dumps(LARGE_BODY).encode(), 0)
    headers = {"content-encoding": "gzip"}
    assert httpx.post(f"{url}/infer", content=packed, headers=headers).status_code == 200
    plain = {"x": [[0.5, 0.5]] * ROWS}
    assert httpx.post(f"{url}/generate", json=plain).status_code == 200
    assert seen == [
        (name, "anabranch-large") for name in ("go_on", "decode_body", "decode_generate")
    ]


def test_a_flood_of_the_largest_messages_is_bounded() -> None:
    """Sixteen messages over gRPC, of which the limit lets so many in as it says."""

    async def main() -> None:
        step = Waiting()
        message = infer_request(x=np.zeros((ROWS, 2), np.float32))
        size = message.ByteSize()
        arms = make_arms(step, limits=RequestLimits(max_under_way=4 * (size + TENSOR)))
        async with served(arms) as stub:
            calls = [asyncio.ensure_future(_call(stub, message)) for _ in range(16)]
            await asyncio.to_thread(
                until, lambda: sum(call.done() for call in calls) >= 12 and step.begun.is_set()
            )
            assert arms.under_way.held <= 4 * (size + TENSOR)
            step.go_on.set()
            found = await asyncio.gather(*calls)
        refused = [one for one in found if one is not None]
        assert 0 < len(refused) < 16
        for error in refused:
            assert error.code() is StatusCode.UNAVAILABLE
            assert re.search(r"over the limit of \d+ bytes of graph 'demo'", str(error.details()))
        assert arms.under_way.held == 0

    asyncio.run(main())


async def _call(stub: Any, message: Any) -> grpc.aio.AioRpcError | None:
    try:
        await stub("ModelInfer", message)
    except grpc.aio.AioRpcError as error:
        return error
    return None
