"""The bytes of replies, and which of one turn of the event loop are written together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.http import lean_reply
from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.lean_reply import (
    ALONE,
    MOST_HELD,
    QUICK_S,
    HeldReplies,
    chunks,
    head,
    message,
)
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import HttpRequest
from tests.examples import examples
from tests.router.http.wire import Wire, ask, connect, replies
from tests.waiting import eventually

NAMED = ((b"a", b"b"),)


def test_a_reply_with_its_length() -> None:
    assert message(200, NAMED, b"c") == b"HTTP/1.1 200 OK\r\na: b\r\n\r\nc"


def test_a_body_in_pieces_is_one_chunk_before_its_trailers() -> None:
    found = b"".join(chunks((b"c" * 10, b"d" * 6), NAMED))
    assert found == b"10\r\n" + b"c" * 10 + b"d" * 6 + b"\r\n0\r\na: b\r\n\r\n"


def test_a_body_of_nothing_has_no_chunk_that_would_end_it_too_early() -> None:
    assert b"".join(chunks((b"", b""), NAMED)) == b"0\r\na: b\r\n\r\n"


@pytest.mark.parametrize("text", [b"b\r\nc: d", b"b\n", b"\rb"])
def test_what_would_be_another_line_is_no_header_and_no_trailer(text: bytes) -> None:
    for name, value in ((b"a", text), (text, b"a")):
        with pytest.raises(RuntimeError):
            head(200, ((name, value),))
        with pytest.raises(RuntimeError):
            chunks((b"c",), ((name, value),))


class Sink(asyncio.Transport):
    """The server's end of a connection, and how many bytes each write had."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_closed


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(lean_reply, "time", clock)
    return clock


def in_turns(*turns: Callable[[HeldReplies], None]) -> None:
    """Do each in a turn of the loop of its own."""

    async def main() -> None:
        held = HeldReplies()
        for turn in turns:
            asyncio.get_running_loop().call_soon(turn, held)
            await asyncio.sleep(0)  # the turn
            await asyncio.sleep(0)  # its end

    asyncio.run(main())


def test_those_of_one_turn_are_written_at_its_end(clock: FakeTime) -> None:
    sinks = [Sink() for _ in range(3)]

    def turn(held: HeldReplies) -> None:
        held.add(sinks[0], b"first")  # long after the one before
        assert sinks[0].sent == b"first"
        held.add(sinks[1], b"second")
        held.add(sinks[2], b"third")
        assert sinks[1].sent == sinks[2].sent == b""

    in_turns(turn)
    assert [sink.sent for sink in sinks] == [b"first", b"second", b"third"]


def test_no_more_than_a_few_are_held(clock: FakeTime) -> None:
    sinks = [Sink() for _ in range(3 * MOST_HELD)]

    def turn(held: HeldReplies) -> None:
        for number, sink in enumerate(sinks):
            held.add(sink, b"x")
            assert sum(not one.sent for one in sinks[: number + 1]) < MOST_HELD

    in_turns(turn)
    assert all(sink.sent == b"x" for sink in sinks)


def test_none_waits_for_one_that_takes_long(clock: FakeTime) -> None:
    sinks = [Sink() for _ in range(4)]

    def turn(held: HeldReplies) -> None:
        for sink in sinks:
            clock.now += 2 * QUICK_S
            held.add(sink, b"x")
            assert sink.sent == b"x"

    in_turns(turn)


def test_one_that_is_alone_in_its_turn_says_that_the_next_ones_are(clock: FakeTime) -> None:
    first, alone, last = Sink(), Sink(), Sink()

    def several(held: HeldReplies) -> None:
        for sink in (first, last, last):
            held.add(sink, b"x")

    def one(held: HeldReplies) -> None:
        before = alone.sent
        held.add(alone, b"x")
        at_once.append(alone.sent != before)

    at_once: list[bool] = []
    in_turns(several, *[one] * (ALONE + 2))
    assert at_once == [False, *[True] * ALONE, False]
    assert alone.sent == b"x" * (ALONE + 2)


def test_one_whose_connection_has_gone_is_dropped(clock: FakeTime) -> None:
    gone, here = Sink(), Sink()

    def turn(held: HeldReplies) -> None:
        held.add(Sink(), b"x")
        held.add(gone, b"x")
        held.add(here, b"x")
        gone.is_closed = True

    in_turns(turn)
    assert (gone.sent, here.sent) == (b"", b"x")


async def _answer(request: HttpRequest) -> Any:
    """Answer at once, after waits, or by an error, as the path says."""
    kind, number = request.path.strip("/").split("/")
    for _ in range(int(kind) if kind.isdigit() else 0):
        await asyncio.sleep(0)
    if kind == "fail":
        raise ZeroDivisionError
    return json_reply(number)


async def _by_messages(scope: Any, receive: Any, send: Any) -> None:
    """Answer by ASGI's messages."""
    number = scope["path"].rpartition("/")[2].encode()
    headers = [(b"content-length", b"%d" % (len(number) + 2))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'"%b"' % number})


class Both:
    """An application that answers in all the ways that there are."""

    def __init__(self) -> None:
        self._whole = HttpApp(_answer)

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if scope["path"].startswith("/messages/"):
            return _by_messages(scope, receive, send)
        return self._whole(scope, receive, send)


KINDS = st.sampled_from(["at-once", "messages", "0", "1", "3", "fail"])


@given(st.lists(st.lists(st.lists(KINDS, max_size=3), max_size=3), min_size=1, max_size=12))
@settings(max_examples=examples(100), deadline=None)
def test_every_connection_gets_its_replies_in_order(connections: list[list[list[str]]]) -> None:
    """Each feeds some requests at a time, all of them in the same turns."""

    async def main() -> None:
        server = LeanServer(Both())
        wires = [connect(server) for _ in connections]
        asked = [0] * len(wires)
        loop = asyncio.get_running_loop()
        for turn in range(3):
            for index, feeds in enumerate(connections):
                data = b""
                for kind in feeds[turn] if turn < len(feeds) else ():
                    data += ask(f"/{kind}/{asked[index]}")
                    asked[index] += 1
                if data:
                    loop.call_soon(wires[index].protocol.data_received, data)
            await asyncio.sleep(0)
        for wire, count in zip(wires, asked, strict=True):
            await eventually(lambda wire=wire, count=count: len(replies(wire.sent)) == count)
        for wire, feeds in zip(wires, connections, strict=True):
            kinds = [kind for feed in feeds for kind in feed]
            for number, (kind, reply) in enumerate(zip(kinds, replies(wire.sent), strict=True)):
                assert reply.status == (500 if kind == "fail" else 200)
                assert kind == "fail" or reply.json() == str(number)
        await server.close(0)

    asyncio.run(main())


@pytest.mark.parametrize("is_guest", [False, True])
def test_a_server_that_ends_in_the_same_turn_loses_none(
    is_guest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean_reply, "QUICK_S", 60)

    def opened(server: LeanServer) -> Wire:
        wire = Wire()
        wire.protocol = server.guest() if is_guest else server.protocol()
        wire.protocol.connection_made(wire)
        return wire

    async def main() -> None:
        server = LeanServer(Both())
        wires = [opened(server) for _ in range(MOST_HELD - 1)]

        def turn() -> None:
            for wire in wires:
                wire.protocol.data_received(ask("/at-once/1"))
            assert not all(wire.sent for wire in wires)
            for wire in wires:
                wire.protocol.shutdown()

        asyncio.get_running_loop().call_soon(turn)
        await asyncio.sleep(0)
        assert [reply.json() for wire in wires for reply in replies(wire.sent)] == ["1"] * len(
            wires
        )
        assert all(wire.is_over for wire in wires)
        await server.close(0)

    asyncio.run(main())


def test_a_malformed_request_is_refused_after_the_reply_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lean_reply, "QUICK_S", 60)

    async def main() -> None:
        server = LeanServer(Both())
        wires = [connect(server) for _ in range(3)]

        def turn() -> None:
            for wire in wires:
                wire.protocol.data_received(ask("/at-once/1"))
                wire.protocol.data_received(b"nonsense\r\n\r\n")

        asyncio.get_running_loop().call_soon(turn)
        await eventually(lambda: all(wire.is_over for wire in wires))
        assert [[one.status for one in replies(wire.sent)] for wire in wires] == [[200, 400]] * 3
        await server.close(0)

    asyncio.run(main())
