"""Which replica gets a call, and what becomes of calls when replicas come, go, hang and die."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from anabranch.breaker import FAILURES
from anabranch.errors import Interrupted, NodeError, Unavailable
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.sockets import unix_listener
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.lost import CallLost
from tests.serve.members import ListedMembers, Running, calling, listed, replicas
from tests.serve.streams.ends import run
from tests.waiting import eventually


async def connected(calls: ReplicaCalls, *running: Running) -> None:
    """Wait until these replicas can be called, for which each must be listed."""
    await eventually(lambda: all(calls._links[one.address].live for one in running))


async def names(calls: ReplicaCalls, number: int, **how: Any) -> Counter[str]:
    """Who answers so many calls, one after the other."""
    return Counter([await calls.call("name", **how) for _ in range(number)])


def test_a_call_goes_to_the_less_loaded_of_two() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b), calling(ListedMembers(a.address)) as calls:
            held = [asyncio.ensure_future(calls.call("wait", n)) for n in range(5)]
            await eventually(lambda: a.begun == 5)
            calls._apply(listed(a, b))
            await connected(calls, a, b)
            assert await names(calls, 20) == {"b": 20}
            a.go.set()
            assert await asyncio.gather(*held) == list(range(5))

    run(main())


def test_a_replica_of_this_machine_is_asked_unless_it_is_busier() -> None:
    async def main() -> None:
        async with (
            replicas("near", "b", "c", "d") as (near, *far),
            calling(ListedMembers(near.address)) as calls,
        ):
            held = [asyncio.ensure_future(calls.call("wait", n)) for n in range(5)]
            await eventually(lambda: near.begun == 5)
            for one in far:
                listener = socket.create_server(("127.0.0.1", 0))
                await one.listening.listen(listener)
                one.address = f"127.0.0.1:{listener.getsockname()[1]}"
            calls._apply(listed(near, *far))
            await connected(calls, near, *far)
            assert "near" not in await names(calls, 20)
            near.go.set()
            await asyncio.gather(*held)
            assert await names(calls, 20) == {"near": 20}

    run(main())


def test_the_load_of_other_callers_counts() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b), calling(ListedMembers(a.address)) as other:
            held = [asyncio.ensure_future(other.call("wait")) for _ in range(5)]
            await eventually(lambda: a.begun == 5)
            async with calling(ListedMembers(a.address, b.address)) as calls:
                await connected(calls, a, b)
                assert await names(calls, 20) == {"b": 20}
            a.go.set()
            await asyncio.gather(*held)

    run(main())


def test_a_replica_that_was_busy_is_asked_again() -> None:
    """Though it can only say that it is not in an answer."""

    async def main() -> None:
        async with replicas("a", "b") as (a, b), calling(ListedMembers(a.address)) as other:
            held = [asyncio.ensure_future(other.call("wait")) for _ in range(5)]
            await eventually(lambda: a.begun == 5)
            async with calling(ListedMembers(a.address, b.address)) as calls:
                await connected(calls, a, b)
                a.go.set()
                await asyncio.gather(*held)

                async def is_asked() -> bool:
                    return bool(await calls.call("name") == "a")

                await eventually(is_asked)

    run(main())


def test_many_calls_are_shared() -> None:
    async def main() -> None:
        async with (
            replicas("a", "b") as (a, b),
            calling(ListedMembers(a.address, b.address)) as calls,
        ):
            await connected(calls, a, b)
            held = [asyncio.ensure_future(calls.call("wait")) for _ in range(40)]
            await eventually(lambda: a.begun + b.begun == 40)
            assert a.begun == b.begun == 20
            a.go.set()
            b.go.set()
            await asyncio.gather(*held)

    run(main())


def test_a_replica_that_dies_loses_what_it_has_and_nothing_else() -> None:
    """Nobody says so but the connection."""

    async def main() -> None:
        async with (
            replicas("a", "b") as (a, b),
            calling(ListedMembers(a.address, b.address)) as calls,
        ):
            await connected(calls, a, b)
            held = [asyncio.ensure_future(calls.call("wait")) for _ in range(10)]
            await eventually(lambda: a.begun + b.begun == 10)
            a.kill()
            await eventually(lambda: sum(one.done() for one in held) == a.begun)
            lost = [one.exception() for one in held if one.done()]
            assert all(isinstance(one, CallLost) and one.may_have_run for one in lost)
            assert await names(calls, 50) == {"b": 50}
            b.go.set()
            await asyncio.gather(*held, return_exceptions=True)
            assert [one.exception() for one in held].count(None) == b.begun

    run(main())


DOWN = "segment 'forest' cannot answer now: it has no healthy replica"


async def refused(calls: ReplicaCalls, number: int = 1) -> None:
    """Make calls of which each must fail at once."""
    for _ in range(number):
        with pytest.raises(Unavailable, match=DOWN) as raised:
            await calls.call("name")
        assert raised.value.retry_after == 1


@pytest.mark.parametrize("is_listed", [True, False])
def test_calls_after_the_last_replica_died_fail_until_there_is_another(is_listed: bool) -> None:
    """Also while Serve's controller is away, or has not noticed, and the list says that it runs."""

    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers(a.address)
            async with calling(membership) as calls:
                assert await names(calls, 1) == {"a": 1}
                a.kill()
                await eventually(lambda: calls._links[a.address].live is None)
                if not is_listed:
                    membership.unhealthy = True
                    membership.tell({})
                await refused(calls, 20)
                assert membership.asked == 0
                membership.tell(listed(b))
                await connected(calls, b)
                assert await names(calls, 5) == {"b": 5}

    run(main())


def test_a_call_that_waits_fails_once_serve_cannot_keep_a_replica_running() -> None:
    """So it is for a caller that is new, and never knew a replica."""

    async def main() -> None:
        membership = ListedMembers()
        async with calling(membership) as calls:
            waiting = [asyncio.ensure_future(calls.call("name")) for _ in range(5)]
            await eventually(lambda: membership.waiting == 5)
            membership.unhealthy = True
            for one in waiting:
                with pytest.raises(Unavailable, match=DOWN):
                    await one
            await eventually(lambda: not membership.waiting)
            await refused(calls, 5)

    run(main())


@pytest.mark.parametrize("told", [None, False])
def test_calls_wait_while_serve_knows_of_no_harm(told: bool | None) -> None:
    """A deployment sleeps, is brought back, or its replica went on purpose."""

    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers(a.address)
            membership.unhealthy = told
            async with calling(membership) as calls:
                assert await names(calls, 1) == {"a": 1}
                membership.tell({})
                await a.listening.close(20)
                waiting = asyncio.ensure_future(calls.call("name"))
                await eventually(lambda: membership.waiting)
                await eventually(lambda: membership.looks)
                membership.tell(listed(b))
                assert await waiting == "b"

    run(main())


def test_a_deployment_that_sleeps_after_it_was_down_is_woken() -> None:
    """Its autoscaler found nothing to do while all calls failed."""

    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers(a.address)
            membership.unhealthy = True
            async with calling(membership) as calls:
                assert await names(calls, 1) == {"a": 1}
                a.kill()
                await eventually(lambda: calls._links[a.address].live is None)
                membership.tell({})
                await refused(calls)
                membership.unhealthy = False
                membership.answers.put_nowait(b.address)
                await eventually(lambda: not calls._outage._down)
                assert await names(calls, 1) == {"b": 1}
                assert membership.asked == 1

    run(main())


def test_a_replica_that_was_out_of_reach_is_found_again_without_a_call() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b), calling(ListedMembers(a.address)) as calls:
            assert await names(calls, 1) == {"a": 1}
            a.kill()
            await eventually(lambda: calls._links[a.address].live is None)
            await refused(calls)
            path = Path(a.address.removeprefix("unix@"))
            await b.listening.listen(unix_listener(path))
            await connected(calls, a)
            assert await names(calls, 3) == {"b": 3}

    run(main())


def test_serve_may_name_a_replica_that_has_just_died() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers()
            a.kill()
            async with calling(membership) as calls:
                for address in (a.address, a.address, b.address):
                    membership.answers.put_nowait(address)
                assert await names(calls, 1) == {"b": 1}
                assert membership.asked == 3

    run(main())


async def cancelled(calls: ReplicaCalls, replica: Running, is_late: bool, model: str = "") -> None:
    """Cancel a call once the replica has begun it."""
    begun = replica.calls
    call = asyncio.ensure_future(calls.call("hang", model=model, is_late=lambda: is_late))
    await eventually(lambda: replica.calls > begun)
    call.cancel()
    await asyncio.wait([call])


def test_a_replica_that_hangs_is_left_out() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b), calling(ListedMembers(a.address)) as calls:
            for _ in range(FAILURES):
                await cancelled(calls, a, is_late=True)
            assert not calls._breakers.are_closed
            # The last one is never left out.
            assert await names(calls, 1) == {"a": 1}
            for _ in range(FAILURES):
                await cancelled(calls, a, is_late=True)
            calls._apply(listed(a, b))
            await connected(calls, a, b)
            assert await names(calls, 50) == {"b": 50}

    run(main())


@pytest.mark.parametrize("how", ["answered", "error", "cancelled"])
def test_what_says_nothing_ill_of_a_replica(how: str) -> None:
    async def main() -> None:
        async with replicas("a") as (a,), calling(ListedMembers(a.address)) as calls:
            for _ in range(2 * FAILURES):
                if how == "answered":
                    await calls.call("name")
                elif how == "error":
                    with pytest.raises(Unavailable, match="no luck"):
                        await calls.call("fail", Unavailable("no luck"))
                else:
                    await cancelled(calls, a, is_late=False)
            assert calls._breakers.are_closed

    run(main())


def test_replicas_that_go_away_under_load_fail_no_call() -> None:
    """Each is taken off the list, or is not, and goes; another one comes for it."""

    async def main() -> None:
        async with replicas("a", "b", "c", "d") as (a, b, c, d):
            membership = ListedMembers(a.address, b.address)
            answered, stopped = 0, False

            async def caller() -> None:
                nonlocal answered
                while not stopped:
                    await calls.call("name")
                    answered += 1

            async with calling(membership) as calls:
                callers = [asyncio.ensure_future(caller()) for _ in range(20)]
                await eventually(lambda: answered > 200)
                membership.tell(listed(b, c))
                await a.listening.close(20)
                await b.listening.close(20)  # still listed
                await eventually(lambda: c.calls > 100)
                membership.tell(listed(d))
                await c.listening.close(20)
                await eventually(lambda: d.calls > 100)
                stopped = True
                await asyncio.gather(*callers)
            assert sum(one.calls for one in (a, b, c, d)) == answered
            assert membership.asked == 0

    run(main())


def test_a_replica_that_leaves_the_list_finishes_what_it_has() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers(a.address)
            async with calling(membership) as calls:
                held = asyncio.ensure_future(calls.call("wait", 7))
                await eventually(lambda: a.begun)
                membership.tell(listed(b))
                await connected(calls, b)
                assert await names(calls, 20) == {"b": 20}
                a.go.set()
                assert await held == 7
                await eventually(lambda: not a.listening._sessions)  # the connection ends, too

    run(main())


def test_a_call_that_finds_nobody_waits_for_the_first() -> None:
    async def main() -> None:
        async with replicas("a") as (a,):
            membership = ListedMembers()
            async with calling(membership) as calls:
                waiting = [asyncio.ensure_future(calls.call("name")) for _ in range(50)]
                await eventually(lambda: membership.waiting == 50)
                membership.tell(listed(a))
                assert await asyncio.gather(*waiting) == ["a"] * 50
                assert (membership.asked, membership.waiting) == (50, 0)

    run(main())


def test_a_call_is_refused_where_too_many_wait() -> None:
    async def main() -> None:
        membership = ListedMembers()
        membership.answers.put_nowait(Unavailable("segment 'forest' has its queue full"))
        async with calling(membership) as calls:
            with pytest.raises(Unavailable, match="queue full"):
                await calls.call("name")

    run(main())


def test_a_call_that_is_given_up_waits_no_longer() -> None:
    async def main() -> None:
        membership = ListedMembers()
        async with calling(membership) as calls:
            call = asyncio.ensure_future(calls.call("name"))
            await eventually(lambda: membership.waiting)
            call.cancel()
            await asyncio.wait([call])
            await eventually(lambda: membership.cancelled == 1)
            assert call.cancelled() and not membership.waiting

    run(main())


def test_a_list_that_changes_does_not_send_those_who_wait_to_the_end_of_the_queue() -> None:
    async def main() -> None:
        async with replicas("dead") as (dead,):
            dead.kill()
            membership = ListedMembers()
            async with calling(membership) as calls:
                call = asyncio.ensure_future(calls.call("name"))
                await eventually(lambda: membership.waiting)
                for _ in range(10):
                    membership.tell(listed(dead))
                    await asyncio.sleep(0)
                    membership.tell({})
                    await asyncio.sleep(0)
                assert membership.asked == 1
                call.cancel()
                await asyncio.wait([call])

    run(main())


def test_requests_go_where_their_model_is() -> None:
    async def main() -> None:
        async with replicas("a", "b", "c") as (a, b, c):
            membership = ListedMembers()
            async with calling(membership) as calls:
                membership.tell(listed(a, b, c, a=["oslo", "rome"], b=["rome"], c=["bonn"]))
                await connected(calls, a, b, c)
                assert await names(calls, 20, model="oslo") == {"a": 20}
                assert set(await names(calls, 200, model="rome")) == {"a", "b"}
                assert set(await names(calls, 200, model="none has it")) == {"b", "c"}
                assert set(await names(calls, 200)) == {"a", "b", "c"}
                membership.tell(listed(b, c, b=["oslo"]))
                assert await names(calls, 20, model="oslo") == {"b": 20}

    run(main())


def test_a_model_is_no_reason_to_ask_a_replica_that_hangs() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers()
            async with calling(membership) as calls:
                membership.tell(listed(a, b, a=["oslo"]))
                await connected(calls, a, b)
                for _ in range(FAILURES):
                    await cancelled(calls, a, is_late=True, model="oslo")
                assert await names(calls, 20, model="oslo") == {"b": 20}

    run(main())


def test_a_full_replica_is_no_reason_to_refuse_what_another_can_take() -> None:
    async def main() -> None:
        limits = CallLimits(calls=2)
        async with (
            replicas("a", "b", limits=limits) as (a, b),
            calling(ListedMembers(a.address, b.address)) as calls,
        ):
            await connected(calls, a, b)
            held = [asyncio.ensure_future(calls.call("wait")) for _ in range(4)]
            await eventually(lambda: a.begun + b.begun == 4)
            with pytest.raises(Unavailable, match="segment 'forest' has its queue full") as raised:
                await calls.call("name")
            assert not isinstance(raised.value, Interrupted)
            assert calls._breakers.are_closed
            a.go.set()
            b.go.set()
            await asyncio.gather(*held)
            assert (await names(calls, 10)).total() == 10

    run(main())


async def taken(calls: ReplicaCalls, *args: Any) -> list[Any]:
    async with aclosing(calls.stream("count", *args)) as pieces:
        return [piece async for piece in pieces]


def test_a_stream_goes_elsewhere_before_it_has_begun_and_never_after() -> None:
    async def main() -> None:
        async with replicas("a", "b") as (a, b):
            membership = ListedMembers(a.address)
            async with calling(membership) as calls:
                assert await taken(calls, 3) == [0, 1, 2]
                async with aclosing(calls.stream("count", 100)) as pieces:
                    assert await anext(pieces) == 0
                    membership.tell(listed(a, b))
                    await connected(calls, b)
                    a.kill()
                    with pytest.raises(CallLost) as raised:
                        async for _ in pieces:
                            pass
                    assert raised.value.may_have_run
                assert b.made == 0
                assert await taken(calls, 3) == [0, 1, 2]
                assert b.made == 3

    run(main())


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_a_stream_that_is_given_up_ends_there(how: str) -> None:
    async def main() -> None:
        async with replicas("a") as (a,), calling(ListedMembers(a.address)) as calls:
            pieces = calls.stream("count", 10**9)
            assert await anext(pieces) == 0
            if how == "closed":
                await pieces.aclose()
            else:
                with pytest.raises(asyncio.CancelledError):
                    await pieces.athrow(asyncio.CancelledError)
            await eventually(lambda: a.ended == 1)
            assert calls._breakers.are_closed

    run(main())


def test_an_error_of_a_stream_is_the_callers() -> None:
    async def main() -> None:
        async with replicas("a") as (a,), calling(ListedMembers(a.address)) as calls:
            with pytest.raises(NodeError, match="no luck"):
                await taken(calls, 2, NodeError("n", "no luck"))

    run(main())


@pytest.mark.parametrize("end", [ReplicaCalls.close, lambda calls: calls._apply({})])
def test_nothing_is_left_connected(end: Callable[[ReplicaCalls], None]) -> None:
    """Also where a connection was just being made."""

    async def main() -> None:
        async with replicas("a") as (a,), calling(ListedMembers(a.address)) as calls:
            await calls.call("name")
            end(calls)
            await eventually(lambda: not a.listening._sessions)
            calls._apply(listed(a))
            end(calls)
            await eventually(lambda: not a.listening._sessions)

    run(main())
