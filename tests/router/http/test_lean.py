"""The lean socket's protocol, without a network."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.http import lean
from anabranch.router.http.app import CancelOnDisconnect, HttpApp, StreamedReply, json_reply
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.lean import MAX_DROPPED, MAX_HEAD
from anabranch.router.http.lean_cycle import MAX_REST
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import EXCHANGE, HttpRequest
from anabranch.router.limits import LARGE
from anabranch.router.off_loop import THREADS, off_loop
from anabranch.router.oip import body_memory
from anabranch.router.oip.body_memory import BodyMemory
from tests.examples import examples
from tests.router.conftest import BODY, make_arms
from tests.router.http.wire import RULE, Echo, Reply, Wire, ask, chunked, connect, replies
from tests.waiting import eventually

GOOD = [
    ask("/"),
    ask("/a?b=c&d", method="GET"),
    ask("/a%20b", b"x" * 300),
    ask("/wait/3", b"slow"),
    ask("/wait/1", b"slow", x_odd="\xe9, (b)"),
    ask("/fail", b"{}"),
    chunked(b"a", b"bc" * 99, b"d"),
    chunked(),
    b"\r\n" + ask("/after-an-empty-line"),
]
LAST = [
    ask("/last", b"x", connection="close"),
    ask("/old", b"x", version="1.0"),
    ask("/upgrade", connection="upgrade", upgrade="websocket"),
]
C, T = b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"
START = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKS = START + T + b"\r\n"
BAD = {
    "both lengths": START + C + T + b"\r\n0\r\n\r\n",
    "both lengths, the other way round": START + T + C + b"\r\n0\r\n\r\n",
    "two lengths": START + C + b"content-length: 6\r\n\r\nhello!",
    "one length twice": START + C + C + b"\r\nhello",
    "a list of lengths": START + b"content-length: 5, 5\r\n\r\nhello",
    "a length with a sign": START + b"content-length: +5\r\n\r\nhello",
    "a negative length": START + b"content-length: -5\r\n\r\nhello",
    "no length": START + b"content-length:\r\n\r\n",
    "a huge length": START + b"content-length: %d\r\n\r\n" % 2**65,
    "a length of two words": START + b"content-length: 1 0\r\n\r\nhello",
    "a length in hexadecimal": START + b"content-length: 0x5\r\n\r\nhello",
    "a folded header": START + b"x: a\r\n b\r\n\r\n",
    "a folded coding": START + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a bare CR in a value": START + b"x: a\rb\r\n\r\n",
    "a bare LF after a value": START + b"x: a\ny: b\r\n\r\n",
    "bare LFs": b"POST / HTTP/1.1\nhost: x\n\n",
    "NUL in a value": START + b"x: a\0b\r\n\r\n",
    "a space before the colon": START + b"content-length : 5\r\n\r\nhello",
    "no name": START + b": a\r\n\r\n",
    "no colon": START + b"abc\r\n\r\n",
    "chunked twice": START + T + T + b"\r\n0\r\n\r\n",
    "chunked twice in a list": START + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": START + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nhost: x\r\n" + T + b"\r\n0\r\n\r\n",
    "a size that is none": CHUNKS + b"zz\r\n\r\n",
    "a size with a prefix": CHUNKS + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": CHUNKS + b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with a space": CHUNKS + b"5 \r\nhello\r\n0\r\n\r\n",
    "an empty size": CHUNKS + b"\r\nhello\r\n0\r\n\r\n",
    "a huge size": CHUNKS + b"f" * 17 + b"\r\n",
    "a bare LF after a size": CHUNKS + b"5\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": CHUNKS + b"5;a\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": CHUNKS + b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a chunk that is too long": CHUNKS + b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk without an end": CHUNKS + b"5\r\nhello0\r\n\r\n",
    "a length as a trailer": CHUNKS + b"0\r\n" + C + b"\r\n",
    "a version to come": b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
    "a version long gone": b"GET /\r\n\r\n",
    "no version": b"GET / HTTP/1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path without a slash": b"GET a HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path that is not ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a tunnel": b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def run(main: Awaitable[Any]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(60):
            return await main

    return asyncio.run(within())


def exchange(app: Any, pieces: Sequence[bytes]) -> Wire:
    """Send pieces, and wait until all is answered."""

    async def main() -> Wire:
        server = LeanServer(app)
        wire = connect(server)
        for piece in pieces:
            await wire.feed(piece)
        await eventually(lambda: not server.under_way)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await server.close(0)
        return wire

    found: Wire = run(main())
    return found


def answers(data: bytes, app: Any = None) -> list[Reply]:
    return replies(exchange(app or Echo().app, [data]).sent)


@settings(max_examples=examples(150), deadline=None)
@given(
    requests=st.lists(st.sampled_from(GOOD), max_size=5),
    last=st.sampled_from([*GOOD, *LAST, *BAD.values()]),
    data=st.data(),
)
def test_a_stream_is_answered_alike_however_it_is_split(
    requests: list[bytes], last: bytes, data: st.DataObject
) -> None:
    stream = b"".join([*requests, last])
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12))
    ends = [0, *sorted(cuts), len(stream)]
    whole, split = Echo(), Echo()
    at_once = exchange(whole.app, [stream])
    pieces = [stream[a:b] for a, b in pairwise(ends)]
    in_pieces = exchange(split.app, pieces)
    assert replies(in_pieces.sent) == replies(at_once.sent)
    assert len(replies(at_once.sent)) == len(requests) + 1
    assert in_pieces.is_over == at_once.is_over


@settings(max_examples=examples(150), deadline=None)
@given(
    messages=st.lists(st.sampled_from([*GOOD, b"\r\n", b"\r\n\r\n"]), max_size=5),
    last=st.sampled_from([*GOOD, *LAST, *BAD.values()]),
    data=st.data(),
)
def test_a_server_that_knows_heads_answers_as_one_that_reads_them(
    messages: list[bytes], last: bytes, data: st.DataObject
) -> None:
    """Most pieces are whole messages, which teach heads; connections teach each other."""
    messages = [*messages, last]
    stream = b"".join(messages)
    ends = set(accumulate(map(len, messages)))
    cuts = [
        sorted(
            {0, len(stream)}
            | ends ^ data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=2))
        )
        for _ in range(3)
    ]

    async def main() -> list[Wire]:
        server, wires = LeanServer(Echo().app), []
        for places in cuts:
            wire = connect(server)
            for a, b in pairwise(places):
                await wire.feed(stream[a:b])
            await eventually(lambda: not server.under_way)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            wires.append(wire)
        await server.close(0)
        return wires

    expected = exchange(Echo().app, [stream])
    for wire in run(main()):
        assert replies(wire.sent) == replies(expected.sent)


def test_a_head_is_read_once() -> None:
    async def main() -> int:
        server = LeanServer(Echo().app)
        wires = [connect(server) for _ in range(3)]
        await wires[0].feed(ask("/known", b"one"))
        for wire in wires:
            wire.protocol.parser = None
            await wire.feed(ask("/known", b"two"))
        return sum(len(replies(wire.sent)) for wire in wires)

    assert run(main()) == 4


def test_byte_by_byte() -> None:
    stream = b"".join([*GOOD, LAST[0]])
    echo = Echo()
    wire = exchange(echo.app, [stream[i : i + 1] for i in range(len(stream))])
    assert replies(wire.sent) == answers(stream)
    assert len(echo.seen) == len(GOOD) + 1
    assert wire.is_over


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("before", [0, 2])
def test_a_malformed_request_ends_the_connection_after_pending_replies(
    case: str, before: int
) -> None:
    echo = Echo()
    wire = exchange(echo.app, [ask("/wait/9") * before + BAD[case] + ask("/smuggled")])
    found = replies(wire.sent)
    assert [reply.status for reply in found] == [200] * before + [400]
    assert list(found[-1].json()) == ["error"]
    assert ("connection", "close") in found[-1].headers
    assert wire.is_over
    assert "/smuggled" not in echo.seen


@pytest.mark.parametrize("coding", ["gzip, chunked", "xchunked", '"chunked"', "identity"])
def test_another_transfer_coding_is_not_supported(coding: str) -> None:
    """RFC 9112, 6.1."""
    data = START + b"transfer-encoding: %b\r\n\r\n0\r\n\r\n" % coding.encode() + ask()
    assert [reply.status for reply in answers(data)] == [501]


@pytest.mark.parametrize("last", LAST)
def test_nothing_is_answered_after_the_last_request(last: bytes) -> None:
    echo = Echo()
    wire = exchange(echo.app, [last + ask("/after") + b"\0rubbish"])
    assert [reply.status for reply in replies(wire.sent)] == [200]
    assert ("connection", "close") in replies(wire.sent)[0].headers
    assert wire.is_over
    assert len(echo.seen) == 1


def test_trailers_are_dropped() -> None:
    data = CHUNKS + b"1\r\nx\r\n0\r\nx-request-id: other\r\nx-more: y\r\n\r\n"
    (reply,) = answers(data)
    assert "other" not in str(reply)
    assert "x-more" not in str(reply)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        START + b"x: " + b"a" * MAX_HEAD + b"\r\n\r\n",
        START + b"".join(b"x%d: a\r\n" % i for i in range(MAX_HEAD // 7)) + b"\r\n",
        START + b"x: " + b"a" * 6 * MAX_HEAD,
        CHUNKS + b"1\r\nx\r\n0\r\nx: " + b"a" * 6 * MAX_HEAD,
        CHUNKS + b"1;x=" + b"a" * 6 * MAX_HEAD,
    ],
)
@pytest.mark.parametrize("size", [10_000, 2**18])
def test_large_heads_are_refused_before_they_end(head: bytes, size: int) -> None:
    wire = exchange(Echo().app, [head[i : i + size] for i in range(0, len(head), size)])
    (reply,) = replies(wire.sent)
    assert reply.status == 431
    assert "limit" in reply.json()["error"]
    assert wire.is_over


def test_a_head_just_within_the_limit_is_taken() -> None:
    (reply,) = answers(ask("/", x_long="a" * (MAX_HEAD - 200)))
    assert reply.status == 200


def test_head_has_no_body_but_its_length() -> None:
    data = ask("/", method="HEAD") + ask("/")
    first, second = replies(exchange(Echo().app, [data]).sent, heads=[0])
    assert first.body == b""
    assert dict(first.headers)["content-length"] == dict(second.headers)["content-length"]


@pytest.mark.parametrize("status", [200, 204, 304])
def test_replies_without_a_body(status: int) -> None:
    async def answer(request: HttpRequest) -> Any:
        return json_reply({}, status)._replace(body=b"")

    found = answers(ask() * 2, HttpApp(answer))
    assert [(reply.status, reply.body) for reply in found] == [(status, b"")] * 2


def test_a_header_with_the_end_of_a_line_is_never_sent() -> None:
    async def answer(request: HttpRequest) -> Any:
        return json_reply({})._replace(headers=((b"x", b"a\r\nset-cookie: b"),))

    (reply,) = answers(ask() * 2, HttpApp(answer))
    assert reply.status == 500
    assert "cookie" not in str(reply)


def test_a_broken_application_is_answered_for() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        raise KeyError

    for app in (silent, broken):
        wire = exchange(app, [ask() * 2])
        (reply,) = replies(wire.sent)
        assert (reply.status, reply.json()) == (500, {"error": "internal error"})
        assert wire.is_over


def test_the_date_is_told_and_no_server() -> None:
    sent = exchange(Echo().app, [ask()]).sent
    assert sent.count(b"\r\ndate: ") == 1
    assert b"GMT\r\n" in sent
    assert b"server:" not in sent


# Expectations


def expecting(body: bytes) -> tuple[bytes, bytes]:
    head = ask("/", expect="100-continue")
    return head.replace(b"content-length: 0", b"content-length: %d" % len(body)), body


def test_a_client_is_told_to_continue_once_the_body_is_wanted() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        wire = connect(server)
        head, body = expecting(b"hello")
        await wire.feed(head)
        await eventually(lambda: wire.sent)
        assert wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.feed(body)
        await eventually(lambda: b"200 OK" in wire.sent)
        assert not wire.is_closed
        await server.close(0)

    run(main())


def test_it_is_not_told_so_where_the_body_has_come() -> None:
    assert [reply.status for reply in answers(b"".join(expecting(b"hello")) + ask())] == [200, 200]


def test_a_final_reply_in_its_place_ends_the_connection() -> None:
    """Nobody knows whether the body or another request comes next."""

    async def refuse(request: HttpRequest) -> Any:
        return json_reply({}, 403)

    head, _ = expecting(ask("/smuggled"))
    wire = exchange(HttpApp(refuse), [head])
    (reply,) = replies(wire.sent)
    assert reply.status == 403
    assert ("connection", "close") in reply.headers
    assert wire.is_over


# Bodies


def test_only_a_body_that_is_not_there_yet_needs_a_task() -> None:
    has_task: dict[bytes, bool] = {}

    async def answer(request: HttpRequest) -> Any:
        body = await request.body(RULE)
        has_task[body] = asyncio.current_task() is not None
        return json_reply({})

    late = ask(body=b"late")
    wire = exchange(HttpApp(answer), [ask() + ask(body=b"whole") + late[:-2], late[-2:]])
    assert [reply.status for reply in replies(wire.sent)] == [200] * 3
    assert has_task == {b"": False, b"whole": False, b"late": True}


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_a_body_is_taken_once_and_whole(body: bytes) -> None:
    taken: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        take = scope["extensions"][EXCHANGE].take_body
        taken.append(take())
        if taken[-1] is None:
            await eventually(lambda: taken.append(take()) or taken[-1] is not None)
        taken.append(take())
        scope["extensions"][EXCHANGE].reply(200, [(b"content-length", b"0")], b"")
        assert (await receive())["type"] == "http.disconnect"

    exchange(app, [ask(body=body)])
    assert taken == [body, None]
    taken.clear()
    data = ask(body=b"hello")
    exchange(app, [data[:-2], data[-2:]])
    assert set(taken[:-2]) == {None}
    assert taken[-2:] == [b"hello", None]


def test_a_body_that_waits_to_be_asked_for_is_not_taken() -> None:
    taken: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        taken.append(scope["extensions"][EXCHANGE].take_body())
        taken.append((await receive())["body"])
        scope["extensions"][EXCHANGE].reply(200, [(b"content-length", b"0")], b"")

    sent = exchange(app, list(expecting(b"hello"))).sent
    assert taken == [None, b"hello"]
    assert sent.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_who_listened_for_one_client_takes_nothing_of_the_next_request(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CancelOnDisconnect, "_AFTER", 0.0)
    listening: list[bool] = []

    async def answer(request: HttpRequest) -> Any:
        body = await request.body(RULE)
        guard = CancelOnDisconnect(request.receive)
        async with guard:
            await eventually(lambda: guard._listener is not None)
            listening.append(True)
        return json_reply(body.decode())

    bodies = [f"body {number}" for number in range(6)]
    data = b"".join(ask(body=body.encode()) for body in bodies)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = replies(exchange(HttpApp(answer), pieces).sent)
    assert [reply.json() for reply in found] == bodies
    assert len(listening) == len(bodies)


# Order, tasks and contexts


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
@settings(max_examples=examples(40), deadline=None)
def test_pipelined_requests_are_answered_in_order_one_at_a_time(waits: list[int]) -> None:
    inside = most = 0

    async def answer(request: HttpRequest) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        number, wait = request.path.strip("/").split("/")
        for _ in range(int(wait)):
            await asyncio.sleep(0)
        inside -= 1
        return json_reply(int(number))

    data = b"".join(ask(f"/{number}/{wait}") for number, wait in enumerate(waits))
    found = answers(data, HttpApp(answer))
    assert [reply.json() for reply in found] == list(range(len(waits)))
    assert most == 1


def test_thousands_of_pipelined_requests_need_no_stack() -> None:
    found = answers(ask("/wait/1") + ask("/") * 3000)
    assert len(found) == 3001


def tasks_of(app: Any, data: bytes) -> int:
    """How many tasks are made to answer requests."""

    async def main() -> int:
        made = 0
        loop = asyncio.get_running_loop()

        def factory(loop: Any, work: Any, **more: Any) -> asyncio.Task[Any]:
            nonlocal made
            made += 1
            return asyncio.Task(work, loop=loop, **more)

        server = LeanServer(app)
        wire = connect(server)
        loop.set_task_factory(factory)
        await wire.feed(data)
        await eventually(lambda: wire.sent and not server.under_way)
        loop.set_task_factory(None)
        assert replies(wire.sent)[-1].status == 200
        await server.close(0)
        return made

    found: int = run(main())
    return found


def infer() -> bytes:
    return ask("/v2/models/demo/infer", json.dumps(BODY).encode())


def test_no_task_is_made_for_a_request_that_does_not_wait() -> None:
    assert tasks_of(GraphApp(make_arms()), infer() * 3) == 0


def test_one_task_is_made_for_a_request_that_waits() -> None:
    async def slow(inputs: Any, context: Any) -> Any:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return {"doubled": inputs["x"] * 2, "rows": np.array(1)}

    async def waiting(inputs: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return await slow(inputs, context)

    assert tasks_of(GraphApp(make_arms(waiting)), infer()) == 1


@pytest.mark.parametrize("waits", [0, 1])
def test_no_request_sees_what_another_left_in_its_context(waits: int) -> None:
    left: ContextVar[str] = ContextVar("left", default="")

    async def answer(request: HttpRequest) -> Any:
        found = left.get()
        left.set(request.path)
        for _ in range(waits):
            await asyncio.sleep(0)
        assert left.get() == request.path
        return json_reply(found)

    found = answers(b"".join(ask(f"/{number}") for number in range(4)), HttpApp(answer))
    assert [reply.json() for reply in found] == [""] * 4


def test_every_request_has_a_task_of_its_own() -> None:
    tasks: list[Any] = []

    async def answer(request: HttpRequest) -> Any:
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        return json_reply({})

    answers(ask() * 3, HttpApp(answer))
    assert len(set(tasks)) == 3


# Clients that go away


def test_a_client_that_goes_away_cancels_its_request_and_those_behind() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def hang(inputs: Any, context: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        arms = make_arms(hang)
        server = LeanServer(GraphApp(arms))
        wire = connect(server)
        await wire.feed(infer() * 2)
        await eventually(lambda: arms.gate.inside)
        assert server.under_way == 2
        await wire.hang_up()
        await eventually(lambda: ended)
        await eventually(lambda: not arms.gate.inside)
        assert (ended, arms.gate.passed, wire.sent) == (["cancelled"], 1, b"")
        assert server.under_way == 0
        await server.close(0)

    run(main())


def test_one_that_goes_away_amid_its_body_is_not_answered() -> None:
    async def main() -> None:
        echo = Echo()
        server = LeanServer(echo.app)
        wire = connect(server)
        await wire.feed(ask("/", b"x" * 9)[:-1])
        await eventually(lambda: echo.seen)
        await wire.hang_up()
        await server.close(5)
        assert wire.sent == b""

    run(main())


# Flow control, both ways


def test_a_body_that_is_not_taken_is_not_read_on() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def answer(request: HttpRequest) -> Any:
            await go_on.wait()
            return json_reply(len(await request.body(RULE)))

        server = LeanServer(HttpApp(answer))
        wire = connect(server)
        size, piece = 64 * LARGE, 2**14
        data = ask("/", b"x" * size)
        fed = 0
        while not wire.is_paused:
            await wire.feed(data[fed : fed + piece])
            fed += piece
        assert LARGE < fed <= LARGE + 2 * piece
        go_on.set()
        while fed < len(data):
            await eventually(lambda: not wire.is_paused)
            await wire.feed(data[fed : fed + piece])
            fed += piece
        await eventually(lambda: wire.sent)
        assert replies(wire.sent)[0].json() == size
        await server.close(0)

    run(main())


def test_large_bodies_are_read_by_turns() -> None:
    """One in each turn of the loop, so that small requests wait for one piece at most."""

    async def main() -> None:
        server = LeanServer(Echo().app)
        wires = [connect(server) for _ in range(4)]
        *large, small = wires
        data, size = ask("/", b"x" * 4 * LARGE), LARGE + 1000
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        for piece in pieces:
            for wire in large:
                asyncio.get_running_loop().call_soon(wire.protocol.data_received, piece)
            await small.feed(ask())
            assert [wire.is_paused for wire in wires] == [piece is not pieces[-1]] * 3 + [False]
            order: list[Wire] = []
            while any(wire.is_paused for wire in large):
                await asyncio.sleep(0)
                reads_on = [one for one in large if not one.is_paused and one not in order]
                assert len(reads_on) <= 1
                order += reads_on
            assert order == large or piece is pieces[-1]
        await eventually(lambda: all(wire.sent for wire in wires))
        assert [len(reply.body) > 4 * LARGE for wire in wires for reply in replies(wire.sent)] == [
            True, True, True, *[False] * len(pieces),
        ]  # fmt: skip
        await server.close(0)

    run(main())


def test_memory_of_a_large_body_is_taken_in_a_thread_that_no_long_work_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grow = BodyMemory.grow
    threads: list[threading.Thread] = []

    def grown(body: BodyMemory) -> None:
        threads.append(threading.current_thread())
        grow(body)

    monkeypatch.setattr(body_memory, "HUGE", LARGE)
    monkeypatch.setattr(BodyMemory, "grow", grown)

    async def main() -> None:
        wire, done = connect(LeanServer(Echo().app)), threading.Event()
        try:
            long = [asyncio.create_task(off_loop(done.wait)) for _ in range(THREADS)]
            text = bytes(range(65, 91)) * 10_000
            data = ask("/", text)
            for at in range(0, len(data), 50_000):
                await eventually(lambda: not wire.is_paused)
                await wire.feed(data[at : at + 50_000])
            await eventually(lambda: wire.sent)
        finally:
            done.set()
        await asyncio.gather(*long)
        assert replies(wire.sent)[0].json()[-1] == text.decode()
        assert len(threads) == len(text) // LARGE
        assert threading.main_thread() not in threads

    run(main())


async def refuse(request: HttpRequest) -> Any:
    return json_reply({}, 403)


async def refuse_in_pieces(request: HttpRequest) -> Any:
    async def rest() -> Any:
        yield b"}"

    return StreamedReply(403, ((b"content-length", b"2"),), b"{", rest())


REFUSING = pytest.mark.parametrize("refuse", [refuse, refuse_in_pieces])


@REFUSING
def test_the_short_rest_of_a_body_that_nobody_wants_is_read_and_dropped(refuse: Any) -> None:
    data = ask("/", b"x" * MAX_REST)
    cut = data.index(b"\r\n\r\n") + 4
    pieces = [data[:cut], data[cut : cut + 2**10], data[cut + 2**10 :] + ask("/")]
    wire = exchange(HttpApp(refuse), pieces)
    assert [reply.status for reply in replies(wire.sent)] == [403, 403]


LONG = pytest.mark.parametrize(
    "begun", [START + b"content-length: 1000000000\r\n\r\nabc", CHUNKS + b"3\r\nabc\r\n"]
)


@REFUSING
@LONG
def test_little_of_a_long_one_is_read_after_the_reply(
    begun: bytes, refuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "LINGER_S", 600.0)

    async def main() -> None:
        server = LeanServer(HttpApp(refuse))
        wire = connect(server)
        await wire.feed(begun)
        await eventually(lambda: wire.is_ended)
        fed = 0
        while not wire.is_paused:
            assert fed <= MAX_DROPPED
            await wire.feed(ask() * 2**10)
            fed += len(ask()) * 2**10
        (reply,) = replies(wire.sent)
        assert reply.status == 403
        assert ("connection", "close") in reply.headers
        assert not wire.is_closed
        await server.close(0)

    run(main())


@REFUSING
@LONG
def test_its_connection_is_closed_whatever_is_sent(
    begun: bytes, refuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "LINGER_S", 0.05)

    async def main() -> None:
        wire = connect(LeanServer(HttpApp(refuse)))
        await wire.feed(begun)
        while not wire.is_closed:
            await wire.feed(b"x" * 100)
        assert len(replies(wire.sent)) == 1

    run(main())


def test_a_short_one_that_never_comes_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "LINGER_S", 0.05)

    async def main() -> None:
        wire = connect(LeanServer(HttpApp(refuse)))
        await wire.feed(ask("/", b"x" * 100)[:-1])
        await eventually(lambda: wire.is_closed)
        assert len(replies(wire.sent)) == 1

    run(main())


def test_requests_that_wait_for_their_turn_pause_reading() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def answer(request: HttpRequest) -> Any:
            await go_on.wait()
            return json_reply({})

        server = LeanServer(HttpApp(answer))
        wire = connect(server)
        await wire.feed(ask())
        assert not wire.is_paused
        await wire.feed(ask() * 2)
        assert wire.is_paused
        go_on.set()
        await eventually(lambda: len(replies(wire.sent)) == 3)
        await eventually(lambda: not wire.is_paused)
        await server.close(0)

    run(main())


def test_a_client_that_does_not_read_gets_no_further_reply() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        wire = connect(server)
        wire.protocol.pause_writing()
        await wire.feed(ask() * 2)
        await asyncio.sleep(0)
        assert (wire.sent, server.under_way) == (b"", 2)
        wire.protocol.resume_writing()
        await eventually(lambda: len(replies(wire.sent)) == 2)
        await server.close(0)

    run(main())


@pytest.mark.parametrize("takes_the_first", [False, True])
def test_a_client_that_takes_nothing_for_long_is_gone(
    takes_the_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "STALLED_S", 0.01)

    async def main() -> None:
        server = LeanServer(Echo().app)
        wire = connect(server)
        if takes_the_first:
            wire.protocol.pause_writing()
            wire.protocol.resume_writing()
            stalled = wire.protocol._stalled
            assert stalled is not None and stalled.cancelled()
        wire.protocol.pause_writing()
        await wire.feed(ask() * 2)
        await eventually(lambda: server.under_way == 0)
        assert (wire.is_closed, wire.sent) == (True, b"")
        await server.close(0)

    run(main())


# Idle connections


@pytest.mark.parametrize("data", [b"", ask(), ask()[:20], ask() + ask()[:20]])
def test_an_idle_connection_is_closed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "IDLE_S", 0.01)

    async def main() -> None:
        wire = connect(LeanServer(Echo().app))
        await wire.feed(data)
        await eventually(lambda: wire.is_closed)

    run(main())


def test_one_with_a_request_at_work_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "IDLE_S", 0.01)

    async def answer(request: HttpRequest) -> Any:
        await asyncio.sleep(0.1)
        return json_reply({})

    async def main() -> None:
        wire = connect(LeanServer(HttpApp(answer)))
        await wire.feed(ask())
        await eventually(lambda: wire.is_closed)
        assert len(replies(wire.sent)) == 1

    run(main())


def test_a_client_that_was_refused_has_a_while_to_read_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lean, "LINGER_S", 0.5)

    async def main() -> None:
        wire = connect(LeanServer(Echo().app))
        await wire.feed(b"rubbish\r\n\r\n")
        assert (wire.is_ended, wire.is_closed) == (True, False)
        await wire.feed(b"more")
        await eventually(lambda: wire.is_closed)

    run(main())
