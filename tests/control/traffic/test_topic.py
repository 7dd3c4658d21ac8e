"""Laws of a topic, and of a follower that polls one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.traffic.topic import FORGOTTEN_S, Topic
from anabranch.router import following
from anabranch.router.addresses import Reach, RouterAddress
from anabranch.router.following import Follower
from tests.clock import Clock

T = TypeVar("T")
FOREVER = 3600.0
STEPS = st.integers(0, 3)
"""Turns of the loop that others get before something happens."""


@dataclass(frozen=True)
class Numbered:
    version: int


def topic(version: int = 1, patience: float = FOREVER, clock: Clock | None = None) -> Topic[int]:
    return Topic(version, version, patience, clock or Clock())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def at_once(work: Awaitable[T]) -> T:
    """The result of work that has nothing to wait for but turns of the loop."""
    task = asyncio.ensure_future(work)
    await turns(3)
    assert task.done()
    return task.result()


@given(st.integers(1, 99), st.integers(0, 99))
def test_a_poll_waits_only_with_the_version_that_is_there(version: int, held: int) -> None:
    async def scenario() -> None:
        one = topic(version)
        if held != version:
            assert await at_once(one.next(held)) == version
            return
        poll = asyncio.ensure_future(one.next(held))
        await turns(5)
        assert not poll.done()
        one.put(100, 100)
        assert await at_once(poll) == 100

    asyncio.run(scenario())


@given(st.integers(0, 99))
def test_version_0_stands_for_none_whatever_is_held(held: int) -> None:
    async def scenario() -> None:
        one = topic(0)
        polls = [asyncio.ensure_future(one.next(number)) for number in (0, held)]
        await turns(5)
        assert not any(poll.done() for poll in polls)
        one.put(7, 7)
        assert await at_once(asyncio.gather(*polls)) == [7, 7]

    asyncio.run(scenario())


@given(st.integers(0, 9))
def test_patience_ends_with_the_value_that_is_there(version: int) -> None:
    async def scenario() -> None:
        one = topic(version, patience=0.001)
        assert await one.next(version) == version

    asyncio.run(scenario())


@given(st.lists(STEPS, min_size=1, max_size=20), st.lists(STEPS, min_size=1, max_size=3))
def test_no_poller_misses_the_newest_version(pauses: list[int], slowness: list[int]) -> None:
    """Versions come quickly and pollers ask slowly: some are skipped, never the last one."""
    last = len(pauses) + 1

    async def poller(one: Topic[int], turns_between: int) -> list[int]:
        seen = [0]
        while seen[-1] != last:
            seen.append(await one.next(seen[-1]))
            await turns(turns_between)
        return seen

    async def scenario() -> None:
        one = topic()
        polling = [asyncio.ensure_future(poller(one, slow)) for slow in slowness]
        for version, pause in enumerate(pauses, start=2):
            await turns(pause)
            one.put(version, version)
        async with asyncio.timeout(60):
            for seen in await asyncio.gather(*polling):
                assert all(before < after for before, after in pairwise(seen))

    asyncio.run(scenario())


HELD = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5))


@given(HELD, st.integers(0, 5))
def test_confirmed_are_those_that_hold_the_version_and_others_are_forgotten(
    held: dict[str, int], version: int
) -> None:
    async def scenario() -> None:
        one = topic()
        for name, known in held.items():
            one.heard(name, known)
        up_to_date = {name for name, known in held.items() if known >= version}
        assert await one.confirmed(version, 0) == (len(up_to_date), len(held))
        assert one.pollers().keys() == up_to_date

    asyncio.run(scenario())


@given(HELD.filter(bool), st.integers(1, 5))
def test_a_wait_for_confirmation_ends_with_the_last_poller_that_polls_or_leaves(
    held: dict[str, int], version: int
) -> None:
    async def scenario() -> None:
        one = topic()
        for name, known in held.items():
            one.heard(name, known)
        waiting = asyncio.ensure_future(one.confirmed(version, FOREVER))
        behind = [name for name, known in held.items() if known < version]
        for number, name in enumerate(behind):
            await turns(3)
            assert not waiting.done()
            one.leave(name) if number % 2 else one.heard(name, version)
        there = len(held) - len(behind) // 2
        assert await at_once(waiting) == (there, there)

    asyncio.run(scenario())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 60)), max_size=20))
def test_pollers_are_those_of_the_last_seconds(polls: list[tuple[str, float]]) -> None:
    clock, last = Clock(), dict[str, float]()
    one = topic(clock=clock)
    for name, passed in polls:
        clock.now += passed
        one.heard(name, 1, RouterAddress(Reach(far=f"host:{name}"), Reach()))
        last[name] = clock.now
    there = {name for name, at in last.items() if clock.now - at <= FORGOTTEN_S}
    assert one.pollers().keys() == there
    assert {address.grpc.far for address in one.addresses} == {f"host:{name}" for name in there}


@given(
    st.lists(STEPS, min_size=1, max_size=10),
    st.sets(st.integers(0, 12)),
    st.sets(st.integers(0, 12)),
)
def test_a_follower_takes_the_newest_version_through_all_that_fails(
    pauses: list[int], lost_polls: set[int], refusals: set[int]
) -> None:
    last = len(pauses) + 1

    async def scenario() -> None:
        one: Topic[Numbered | None] = Topic(0, None, FOREVER)
        polls: list[int] = []
        taken: list[int] = []
        tries, done = 0, asyncio.Event()

        async def poll(version: int) -> Numbered | None:
            polls.append(version)
            if len(polls) in lost_polls:
                raise ConnectionError("away")
            return await one.next(version)

        async def take(value: Numbered) -> None:
            nonlocal tries
            tries += 1
            await asyncio.sleep(0)
            if tries in refusals:
                raise ValueError("it cannot be used")
            taken.append(value.version)
            if value.version == last:
                done.set()

        follower = Follower("numbers", poll, take)
        follower.start()
        for version, pause in enumerate(pauses, start=2):
            await turns(pause)
            one.put(version, Numbered(version))
        async with asyncio.timeout(60):
            await done.wait()
        await turns(3)
        await follower.close()
        assert taken == sorted(set(taken)), "a version was taken twice, or an older one later"
        assert set(polls) <= {0, *taken}, "a version was acknowledged that was not taken"
        assert polls[-1] == follower.version == last

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "RETRY_S", 0.0)
        asyncio.run(scenario())


def test_a_version_that_is_the_same_again_is_not_taken_again() -> None:
    async def scenario() -> None:
        one = Topic(4, Numbered(4), patience=0.001)
        taken: list[int] = []

        async def take(value: Numbered) -> None:
            taken.append(value.version)

        follower = Follower("numbers", one.next, take)
        for _ in range(3):
            await follower.step()
        assert taken == [4]

    asyncio.run(scenario())


def test_closing_a_follower_ends_its_poll_also_if_it_never_started() -> None:
    async def scenario() -> int:
        one: Topic[Numbered] = Topic(1, Numbered(1), FOREVER)

        async def take(value: Numbered) -> None:
            pass

        never, follower = (Follower("numbers", one.next, take) for _ in range(2))
        follower.start()
        await turns(3)
        await never.close()
        await follower.close()
        return len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == 1
