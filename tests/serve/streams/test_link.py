"""Calls and streams between two ends."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import tracemalloc
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import (
    AnabranchError,
    EngineError,
    Interrupted,
    InvalidRequest,
    NodeError,
    TooLarge,
    Unavailable,
)
from anabranch.serve.streams import frames
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.frames import frame
from anabranch.serve.streams.limits import AHEAD, CallLimits
from anabranch.serve.streams.link import Link
from anabranch.serve.streams.lost import CallLost
from anabranch.serve.streams.messages import message
from anabranch.serve.streams.server import CallServer
from tests.collector import without_collector
from tests.examples import examples
from tests.serve.streams.ends import NAME, SECRET, Methods, linked, run, same, serving
from tests.serve.streams.test_values import Own
from tests.waiting import eventually


async def taken(link: Link, *args: Any) -> list[Any]:
    async with aclosing(link.stream("count", *args)) as pieces:
        return [piece async for piece in pieces]


@pytest.mark.parametrize("size", [1, 1000, 2**18, 2**22])
def test_a_call_brings_back_what_it_took(size: int) -> None:
    async def main() -> None:
        async with linked(Methods().server()) as link:
            sent = [{"x": np.arange(size, dtype=np.float32)}, ("y",), None]
            assert same(await link.call("echo", *sent), sent)

    run(main())


def test_a_large_array_takes_a_buffer_where_it_arrives_and_one_where_it_waits() -> None:
    async def main() -> None:
        size = 2**24
        async with linked(Methods().server()) as link:
            sent = np.zeros(size, np.uint8)
            tracemalloc.start()
            try:
                (found,) = await link.call("echo", sent)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert len(found) == size
            assert size <= most < 3 * size

    run(main())


def test_a_call_that_does_not_wait_makes_no_task() -> None:
    tasks: list[Any] = []

    async def seen() -> bool:
        tasks.append(asyncio.current_task())
        return True

    async def main() -> None:
        async with linked(Methods().server(seen=seen)) as link:
            assert await link.call("seen")

    run(main())
    assert tasks == [None]


def test_a_thousand_calls_at_once() -> None:
    async def main() -> None:
        methods = Methods()
        async with linked(methods.server()) as link:
            waiting = [asyncio.ensure_future(link.call("wait", n)) for n in range(1000)]
            await eventually(lambda: methods.begun == 1000)
            assert link.load == 1000
            methods.go.set()
            assert await asyncio.gather(*waiting) == list(range(1000))
            assert link.load == 0

    run(main())


def test_calls_beyond_the_limit_are_refused_at_once() -> None:
    async def main() -> None:
        methods = Methods()
        async with linked(methods.server(CallLimits(calls=3))) as link:
            waiting = [asyncio.ensure_future(link.call("wait", n)) for n in range(3)]
            await eventually(lambda: methods.begun == 3)
            with pytest.raises(CallLost, match="'forest' has its queue full") as raised:
                await link.call("echo")
            assert not raised.value.may_have_run
            methods.go.set()
            assert await asyncio.gather(*waiting) == [0, 1, 2]
            assert await link.call("echo") == []

    run(main())


def test_what_leaves_finishes_what_it_has() -> None:
    async def main() -> None:
        methods = Methods()
        async with linked(methods.server()) as link:
            waiting = asyncio.ensure_future(link.call("wait", 7))
            await eventually(lambda: methods.begun)
            link.leave()
            with pytest.raises(CallLost, match="going away"):
                await link.call("echo")
            assert not link.closed
            methods.go.set()
            assert await waiting == 7
            assert link.closed

    run(main())


@pytest.mark.parametrize("way", ["call", "answer", "piece"])
def test_an_array_that_changes_while_it_is_sent_arrives_as_it_was(way: str) -> None:
    """Far more than the socket takes at once: components use their buffers again."""
    buffer = np.zeros(2**24, np.uint8)

    async def answer() -> Any:
        asyncio.get_running_loop().call_soon(buffer.fill, 255)
        return buffer

    async def main() -> None:
        methods = Methods()
        server = methods.server(answer=answer)
        async with linked(server) as link:
            buffer[:] = 7
            if way == "call":
                asking = asyncio.ensure_future(link.call("echo", buffer))
                await asyncio.sleep(0)
                buffer[:] = 255
                (found,) = await asking
            elif way == "answer":
                found = await link.call("answer")
            else:
                async with aclosing(link.stream("fill", buffer.size)) as pieces:
                    found = await anext(pieces)
                    assert (await anext(pieces) == 8).all()
            assert (found == 7).all()

    run(main())


def test_cancelling_a_call_cancels_it_there() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            call = asyncio.ensure_future(link.call("wait"))
            await eventually(lambda: methods.begun)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            await eventually(lambda: methods.cancelled == 1)
            assert (server.under_way, link.load) == (0, 0)
            assert await link.call("echo", 1) == [1]

    run(main())


def test_a_storm_of_cancellations_leaves_nothing_behind() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            for _ in range(10):
                calls = [asyncio.ensure_future(link.call("wait", n)) for n in range(100)]
                streams = [asyncio.ensure_future(taken(link, 10**9)) for _ in range(10)]
                await asyncio.sleep(0)
                for one in calls[::3]:
                    one.cancel()
                await eventually(lambda: methods.made > AHEAD)
                for one in calls + streams:
                    one.cancel()
                await asyncio.wait(calls + streams)
            await eventually(lambda: server.under_way == 0)
            assert link.load == 0
            assert not server._served._tasks and not link._calls
            assert await link.call("echo", 1) == [1]

    run(main())


ERRORS = [
    NodeError("forest", "no trees"),
    Unavailable("full", 7),
    InvalidRequest("a shape"),
    EngineError("é \ud800"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
def test_errors_of_ours_arrive_as_they_were_raised(error: AnabranchError) -> None:
    async def main() -> None:
        methods = Methods()

        async def fail() -> None:
            raise error from ValueError("a cause")

        async with linked(methods.server(fail=fail)) as link:
            with pytest.raises(type(error)) as raised:
                await link.call("fail")
            found = raised.value
            assert type(found) is type(error)
            assert (found.args, vars(found)) == (error.args, vars(error))
            assert found.__cause__ is None
            with pytest.raises(type(error)):
                await taken(link, 2, error)

    run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (KeyError(), "KeyError: KeyError"),
        (RuntimeError("x" * 9999), "RuntimeError: " + "x" * 500),
    ],
)
def test_any_other_error_is_that_of_the_node(error: Exception, reason: str) -> None:
    async def fail() -> None:
        raise error

    async def main() -> None:
        async with linked(Methods().server(fail=fail)) as link:
            with pytest.raises(NodeError) as raised:
                await link.call("fail")
            assert (raised.value.node, raised.value.reason) == (NAME, reason)

    run(main())


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [ValueError, Unavailable])
def test_an_error_holds_neither_end_of_a_call_in_memory(
    error: type[Exception], waits: bool
) -> None:
    held: list[Any] = []

    async def fail(array: Any) -> None:
        held.append(weakref.ref(array))
        if waits:
            await asyncio.sleep(0)
        raise error("no")

    async def main() -> None:
        async with linked(Methods().server(fail=fail)) as link:
            sent = np.zeros(2**20)
            held.append(weakref.ref(sent))
            try:
                await link.call("fail", sent)
            except AnabranchError:
                del sent
            await asyncio.sleep(0)
            assert [ref() for ref in held] == [None, None]

    with without_collector():
        run(main())


def test_a_generator_that_swallows_its_cancellation_ends_with_its_next_piece() -> None:
    waiting = asyncio.Event()

    async def stubborn() -> AsyncGenerator[int, None]:
        while True:
            with suppress(asyncio.CancelledError):
                waiting.set()
                await asyncio.Event().wait()
            yield 1

    async def main() -> None:
        server = CallServer({}, {"stubborn": stubborn}, SECRET)
        async with linked(server) as link:
            taking = asyncio.ensure_future(anext(link.stream("stubborn")))
            await waiting.wait()
            taking.cancel()
            await asyncio.wait([taking])
            await eventually(lambda: server.under_way == 0)

    run(main())


def test_a_method_that_cancels_itself_is_unavailable() -> None:
    async def soon() -> None:
        raise asyncio.CancelledError

    async def later() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def main() -> None:
        server = Methods().server(soon=soon, later=later)
        async with linked(server) as link:
            for method in ("soon", "later"):
                with pytest.raises(Unavailable, match="cancelled where it ran"):
                    await link.call(method)
            assert server.under_way == 0

    run(main())


def test_what_cannot_be_sent_names_its_node_and_ends_one_call_only() -> None:
    async def main() -> None:
        methods = Methods()

        async def odd() -> Any:
            return {"forest": {"y": Own()}}

        async with linked(methods.server(odd=odd)) as link:
            with pytest.raises(NodeError, match=r"node 'forest' failed: a Own .* \(at \['y'\]\)"):
                await link.call("odd")
            with pytest.raises(NodeError, match="node 'x' failed: a Own cannot cross processes"):
                await link.call("echo", {"x": Own()})
            with pytest.raises(EngineError, match=r"no method 'gone' \(it has: .*echo"):
                await link.call("gone")
            assert await link.call("echo", 1) == [1]

    run(main())


def test_messages_over_the_limit_of_the_peer_end_one_call_only() -> None:
    async def main() -> None:
        large, small = bytes(2**20), CallLimits(bytes=2**19)

        async def make() -> bytes:
            return large

        async with linked(Methods().server(small, make=make)) as link:
            with pytest.raises(TooLarge, match="over the limit of 524288"):
                await link.call("echo", large)
            assert await link.call("make") == large
        async with linked(Methods().server(make=make), small) as link:
            with pytest.raises(NodeError, match="over the limit of 524288"):
                await link.call("make")
            assert await link.call("echo", 1) == [1]

    run(main())


@pytest.mark.parametrize("number", [0, 1, AHEAD, AHEAD + 1, 100])
def test_a_stream_gives_all_its_pieces_in_order(number: int) -> None:
    async def main() -> None:
        methods = Methods()
        async with linked(methods.server()) as link:
            assert await taken(link, number) == list(range(number))
            assert methods.ended == 1

    run(main())


def test_a_stream_is_no_further_ahead_than_it_may_be() -> None:
    async def main() -> None:
        methods = Methods()
        async with linked(methods.server()) as link:
            async with aclosing(link.stream("count", 10**9)) as pieces:
                for number in range(50):
                    assert await anext(pieces) == number
                    await link.call("echo")  # behind all that was sent before
                    assert methods.made <= number + 1 + AHEAD
                assert methods.made >= 50 + AHEAD // 2
            await eventually(lambda: methods.ended == 1)

    run(main())


def test_errors_of_a_stream_come_after_its_pieces() -> None:
    async def main() -> None:
        found = []
        async with linked(Methods().server()) as link:
            with pytest.raises(NodeError, match="no trees"):
                async for piece in link.stream("count", 3, NodeError("forest", "no trees")):
                    found.append(piece)  # noqa: PERF401
            assert found == [0, 1, 2]

    run(main())


def test_a_lost_connection_fails_its_calls_and_says_that_they_were_sent() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            call = asyncio.ensure_future(link.call("wait"))
            stream = asyncio.ensure_future(taken(link, 10**9))
            await eventually(lambda: methods.begun and methods.made)
            stream.cancel()
            (session,) = server._sessions
            session.abort()
            with pytest.raises(CallLost, match="'forest' cannot answer now") as raised:
                await call
            assert raised.value.may_have_run
            assert type(pickle.loads(pickle.dumps(raised.value))) is Interrupted
            assert link.closed
            with pytest.raises(CallLost) as raised:
                await link.call("echo")
            assert not raised.value.may_have_run
            assert type(pickle.loads(pickle.dumps(raised.value))) is Unavailable
            await eventually(lambda: methods.cancelled == 1 and server.under_way == 0)

    run(main())


def test_closing_a_link_cancels_its_calls_there() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            calls = [asyncio.ensure_future(link.call("wait")) for _ in range(9)]
            await eventually(lambda: methods.begun == 9)
            link.close()
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(one, CallLost) and one.may_have_run for one in found)
            await eventually(lambda: methods.cancelled == 9 and server.under_way == 0)

    run(main())


def test_a_call_that_waits_for_a_slow_peer_was_never_sent() -> None:
    async def main() -> None:
        ours, theirs = await _pair()
        sending = [asyncio.ensure_future(ours.call("x", bytes(2**24))) for _ in range(3)]
        await eventually(lambda: not ours._writable.is_set())
        theirs.close()
        found = await asyncio.gather(*sending, return_exceptions=True)
        assert [one.may_have_run for one in found] == [True, False, False]  # type: ignore[union-attr]

    run(main())


async def _pair() -> tuple[Link, Any]:
    """A link to a peer that never reads."""
    loop = asyncio.get_running_loop()
    link = Link(NAME, SECRET, CallLimits())
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await loop.create_unix_connection(lambda: link, sock=ours)
    link._most, link._most_calls = 2**30, 100
    return link, theirs


def test_lost_calls_are_merely_unavailable_to_further_processes() -> None:
    found = pickle.loads(pickle.dumps(CallLost("gone", may_have_run=False)))
    assert type(found) is Unavailable
    assert str(found) == "gone"


Step = tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(["call", "stream", "cancel", "take", "release"]), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=examples(40))
@given(steps)
def test_interleavings_of_calls_and_streams_against_a_model(done: Sequence[Step]) -> None:
    run(_interleave(done))


async def _interleave(done: Sequence[Step]) -> None:
    """Each call brings its own value and each stream counts, whatever happens to the others."""
    gates: dict[int, asyncio.Event] = {}

    async def gated(key: int) -> int:
        await gates[key].wait()
        return key

    methods = Methods()
    server = methods.server(gated=gated)
    async with linked(server) as link:
        calls: dict[int, asyncio.Task[Any]] = {}
        streams: dict[int, tuple[Any, list[int]]] = {}
        for key, (what, which) in enumerate(done):
            if what == "call":
                gates[key] = asyncio.Event()
                calls[key] = asyncio.create_task(link.call("gated", key))
            elif what == "stream":
                streams[key] = link.stream("count", which), []
            elif what == "take" and streams:
                pieces, found = streams[sorted(streams)[which % len(streams)]]
                if (piece := await anext(pieces, None)) is not None:
                    found.append(piece)
                assert found == list(range(len(found)))
            elif what == "release" and calls:
                released = sorted(calls)[which % len(calls)]
                gates[released].set()
                assert await calls.pop(released) == released
            elif what == "cancel":
                await _cancel(calls, streams, which)
        for key, call in calls.items():
            gates[key].set()
            assert await call == key
        for pieces, _ in streams.values():
            await pieces.aclose()
        await eventually(lambda: server.under_way == 0)
        assert await link.call("echo") == []  # the last answer may have told of what was cancelled
        assert link.load == 0 and not link._calls


async def _cancel(calls: dict[int, Any], streams: dict[int, Any], which: int) -> None:
    if calls and which % 2:
        call = calls.pop(sorted(calls)[which % len(calls)])
        call.cancel()
        await asyncio.wait([call])
    elif streams:
        pieces, _ = streams.pop(sorted(streams)[which % len(streams)])
        await pieces.aclose()


BAD_ANSWERS = {
    "a kind that callers send": lambda call: frame(frames.CALL, call),
    "an answer that is no message": lambda call: frame(frames.ANSWER, call, b"\xc1"),
    "a load that is no number": lambda call: message(frames.ANSWER, call, "x", 1, 999),
    "a piece of a call": lambda call: message(frames.PIECE, call, 0, 1, 999),
    "the end of a call": lambda call: message(frames.END, call, 0, None, 999),
    "an error that is none": lambda call: message(frames.ERROR, call, 0, [1], 999),
    "a frame over the limit": lambda call: [frames.PREFIX.pack(2**40, 9, frames.ANSWER, call)],
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_replica_that_breaks_the_rules_loses_the_connection_not_the_caller(
    bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            call = asyncio.ensure_future(link.call("wait"))
            await eventually(lambda: methods.begun)
            (session,) = server._sessions
            session.send(bad(link._number))
            with pytest.raises(CallLost):
                await call
            assert link.closed

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "a connection ends: " in caplog.text


def test_a_stream_that_runs_ahead_loses_the_connection() -> None:
    async def main() -> None:
        methods = Methods()
        server = methods.server()
        async with linked(server) as link:
            pieces = link.stream("count", 10**9)
            assert await anext(pieces) == 0
            (session,) = server._sessions
            for _ in range(AHEAD):
                session.send(message(frames.PIECE, link._number, 0, 1, 999))
            await eventually(lambda: link.closed)
            with pytest.raises(CallLost):
                async for _ in pieces:
                    pass

    run(main())


def test_a_load_tells_what_other_callers_have_there() -> None:
    async def main() -> None:
        methods = Methods()
        async with serving(methods.server()) as address:
            ours, others = [await connect(address, NAME, SECRET) for _ in range(2)]
            waiting = [asyncio.ensure_future(others.call("wait")) for _ in range(5)]
            await eventually(lambda: methods.begun == 5)
            assert ours.load == 0
            await ours.call("echo")
            assert (ours.load, others.load) == (5, 5)
            methods.go.set()
            await asyncio.gather(*waiting)
            await ours.call("echo")
            assert ours.load == 0

    run(main())
