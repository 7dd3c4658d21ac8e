from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from anabranch.control.traffic.topic import FORGOTTEN_S
from anabranch.control.traffic.topics import TableTopics
from anabranch.graph.plan.plan import ExplainerTerms, Signature
from anabranch.router.addresses import Reach, RouterAddress
from anabranch.router.table import RoutingTable
from tests.clock import Clock

T = TypeVar("T")


def table(generation: int, graph: str = "digits") -> RoutingTable:
    return RoutingTable(graph, generation, 1, {1: 100.0})


def started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.ensure_future(work)


async def turns(count: int = 5) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_router_without_a_table_gets_the_one_there_is() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(3))
        assert await topics.table("digits", "a", 0) == table(3)
        assert await topics.table("digits", "b", 2) == replace(table(3), routers=2)
        # Of a store that was set back.
        assert await topics.table("digits", "c", 9) == replace(table(3), routers=3)

    asyncio.run(scenario())


def test_followers_hear_of_another_longest_time() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        slow = Signature({}, {}, 9.0, {"why": ExplainerTerms(20.0)})
        for generation, revisions, longest in (
            (1, {1: Signature({}, {}, 3.0)}, 3.0),
            (2, {1: Signature({}, {}, 3.0), 2: slow}, 20.0),
            (3, {2: replace(slow, explainers={})}, 9.0),
        ):
            topics.put(replace(table(generation), revisions=revisions))
            found = await topics.addresses("edge", 0)
            assert found.longest == {"digits": longest}

    asyncio.run(scenario())


def test_a_router_waits_for_its_first_table() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        poll = started(topics.table("digits", "a", 0))
        await turns()
        topics.put(table(1, "iris"))
        await turns()
        assert not poll.done()
        topics.put(table(1))
        assert await poll == table(1)

    asyncio.run(scenario())


def test_all_who_wait_are_woken_at_once() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(1))
        polls = [started(topics.table("digits", str(i), 1)) for i in range(100)]
        await turns()
        assert not any(poll.done() for poll in polls)
        topics.put(table(2))
        assert await asyncio.gather(*polls) == [replace(table(2), routers=100)] * 100

    asyncio.run(scenario())


def test_patience_ends_with_the_same_table_or_with_none() -> None:
    async def scenario() -> None:
        topics = TableTopics(patience=0.01)
        topics.put(table(1))
        assert await topics.table("digits", "a", 1) == table(1)
        assert await topics.table("unknown", "a", 1) is None

    asyncio.run(scenario())


def test_waiters_of_a_dropped_graph_get_none_and_later_ones_wait_for_it_to_come_back() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(1))
        poll = started(topics.table("digits", "a", 1))
        await turns()
        topics.drop("digits")
        assert await poll is None
        assert topics._topics["digits"].pollers() == {}
        later = started(topics.table("digits", "b", 0))
        await turns()
        assert not later.done()
        topics.put(table(2))
        assert await later == table(2)

    asyncio.run(scenario())


def test_an_older_table_does_not_replace_a_newer_one() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(2))
        poll = started(topics.table("digits", "a", 2))
        await turns()
        topics.put(table(1))
        topics.put(table(2))
        await turns()
        assert not poll.done()
        topics.put(table(3))
        assert await poll == table(3)

    asyncio.run(scenario())


def test_asking_again_is_the_acknowledgement() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(1))
        polls = {name: started(topics.table("digits", name, 1)) for name in "ab"}
        await turns()
        assert await topics.confirmed("digits", 1) == (2, 2)
        topics.put(table(2))
        waiting = started(topics.confirmed("digits", 2, timeout=60))
        await asyncio.gather(*polls.values())
        again = [started(topics.table("digits", "a", 2))]
        await turns()
        assert not waiting.done()
        again.append(started(topics.table("digits", "b", 2)))
        assert await waiting == (2, 2)
        for poll in again:
            poll.cancel()

    asyncio.run(scenario())


def test_who_does_not_acknowledge_is_taken_for_gone_until_it_polls_again() -> None:
    async def scenario() -> None:
        topics = TableTopics(patience=0.01)
        topics.put(table(2))
        await topics.table("digits", "quick", 2)
        await topics.table("digits", "stuck", 1)
        assert await topics.confirmed("digits", 2, timeout=0.01) == (1, 2)
        assert await topics.confirmed("digits", 2, timeout=60) == (1, 1)
        await topics.table("digits", "stuck", 2)
        assert await topics.confirmed("digits", 2, timeout=60) == (2, 2)

    asyncio.run(scenario())


def test_nobody_waits_for_a_router_that_leaves() -> None:
    async def scenario() -> None:
        topics = TableTopics(patience=0.01)
        topics.put(table(2))
        await topics.table("digits", "stays", 2)
        await topics.table("digits", "leaves", 1)
        waiting = started(topics.confirmed("digits", 2, timeout=60))
        await turns()
        assert not waiting.done()
        await topics.leave("digits", "leaves")
        assert await waiting == (1, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(("passed", "known"), [(39.0, 1), (41.0, 0)])
def test_who_has_not_polled_for_long_is_gone(passed: float, known: int) -> None:
    async def scenario() -> None:
        clock = Clock()
        topics = TableTopics(patience=0.01, clock=clock)
        topics.put(table(1))
        await topics.table("digits", "a", 1)
        clock.now += passed
        assert await topics.confirmed("digits", 1, timeout=0) == (known, known)
        assert len(topics._topics["digits"].pollers()) == known

    asyncio.run(scenario())


def test_routers_that_died_are_forgotten_also_if_nothing_changes() -> None:
    async def scenario() -> None:
        clock = Clock()
        topics = TableTopics(patience=0.001, clock=clock)
        topics.put(table(1))
        for number in range(10):
            clock.now += 30.0
            await topics.table("digits", f"router {number}", 1)
        assert len(topics._topics["digits"]._pollers) == 2

    asyncio.run(scenario())


def test_the_routers_of_a_graph_are_counted() -> None:
    async def scenario() -> None:
        clock = Clock()
        topics = TableTopics(clock=clock)
        assert topics.routers("digits") == topics.routers("nobody's") == 1
        topics.put(table(1))
        for name in ("a", "b", "c"):
            await topics.table("digits", name, 0)
        assert topics.routers("digits") == 3
        await topics.leave("digits", "a", 0.0)
        assert topics.routers("digits") == 2
        clock.now += FORGOTTEN_S + 1
        assert topics.routers("digits") == 1

    asyncio.run(scenario())


def test_a_graph_without_routers_is_confirmed_at_once() -> None:
    assert asyncio.run(TableTopics().confirmed("digits", 7, timeout=60)) == (0, 0)


def at(port: int) -> RouterAddress:
    return RouterAddress(Reach("n", "", f"h:{port}"), Reach("n", f"unix@/{port}"))


def test_a_follower_waits_for_addresses_and_hears_of_each_change() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        first = await topics.addresses("front", 0)
        assert first.routers == {}
        poll = started(topics.addresses("front", first.version))
        topics.put(table(1))
        found = await poll
        assert found.routers == {"digits": ()}
        for replica, address in (("a", at(1)), ("b", None), ("c", at(2))):
            started(topics.table("digits", replica, 1, address))
        await turns()
        found = await topics.addresses("front", found.version)
        assert found.routers == {"digits": (at(1), at(2))}
        poll = started(topics.addresses("front", found.version))
        await turns()
        assert not poll.done()
        leaving = started(topics.leave("digits", "a"))
        found = await poll
        assert found.routers == {"digits": (at(2),)}
        topics.drop("digits")
        assert (await topics.addresses("front", found.version)).routers == {}
        await leaving

    asyncio.run(scenario())


def test_a_router_has_left_once_all_followers_know() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(1))
        router = started(topics.table("digits", "a", 1, at(1)))
        await turns()
        polls = {name: started(topics.addresses(name, 0)) for name in ("front", "edge")}
        await asyncio.gather(*polls.values())
        leaving = started(topics.leave("digits", "a", timeout=60))
        await turns()
        left = await topics.addresses("front", topics._addresses.version - 1)
        assert left.routers == {"digits": ()}
        polls = {"front": started(topics.addresses("front", left.version))}
        await turns()
        assert not leaving.done()
        polls["edge"] = started(topics.addresses("edge", left.version))
        await leaving
        for one in (router, *polls.values()):
            one.cancel()

    asyncio.run(scenario())


def test_a_router_does_not_wait_for_followers_that_are_gone() -> None:
    async def scenario() -> None:
        topics = TableTopics()
        topics.put(table(1))
        router = started(topics.table("digits", "a", 1, at(1)))
        await turns()
        await topics.addresses("front", 0)
        await topics.leave("digits", "a", timeout=0.01)
        router.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("before", [True, False])
def test_followers_hear_which_graphs_are_idempotent(before: bool) -> None:
    async def scenario() -> None:
        topics = TableTopics()
        signatures = {number: Signature({}, {}, 1.0, idempotent=True) for number in (1, 2)}
        one = replace(table(1), revisions=signatures)
        other = replace(one, revisions=signatures | {2: Signature({}, {}, 1.0)})
        topics.put(one if before else other)
        found = await topics.addresses("edge", 0)
        assert found.idempotent == ({"digits"} if before else set())
        topics.put(replace(other if before else one, generation=2))
        found = await topics.addresses("edge", found.version)
        assert found.idempotent == (set() if before else {"digits"})

    asyncio.run(scenario())


def test_a_poll_that_says_nothing_new_wakes_no_follower() -> None:
    async def scenario() -> None:
        topics = TableTopics(patience=0.01)
        topics.put(table(1))
        await topics.table("digits", "a", 0, at(1))
        found = await topics.addresses("front", 0)
        await topics.table("digits", "a", 1, at(1))
        assert await topics.addresses("front", found.version) is found

    asyncio.run(scenario())


def test_no_version_of_addresses_comes_twice_when_a_controller_starts_anew() -> None:
    async def scenario() -> None:
        before = await TableTopics().addresses("front", 0)
        after = await TableTopics().addresses("front", before.version)
        assert after.version > before.version

    asyncio.run(scenario())


def test_graphs_are_those_with_a_table() -> None:
    topics = TableTopics()
    topics.put(table(1))
    topics.put(table(1, "iris"))
    topics.drop("digits")
    asyncio.run(topics.leave("wine", "a"))
    assert topics.graphs() == {"iris"}


def test_who_watches_hears_of_routers_that_come_and_go() -> None:
    async def scenario() -> list[int]:
        topics, heard = TableTopics(), list[int]()
        topics.watch(lambda: heard.append(len(heard)))
        topics.put(table(1))
        seen = [len(heard)]
        for address in (at(1), at(1), None):
            await topics.table("digits", "a", 0, address)
            seen.append(len(heard))
        return [after - before for before, after in itertools.pairwise(seen)]

    assert asyncio.run(scenario()) == [1, 0, 1]
