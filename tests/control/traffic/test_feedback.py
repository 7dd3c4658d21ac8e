from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from anabranch.control.store.lease import Lease
from anabranch.control.store.schema import feedback
from anabranch.control.store.store import Store
from anabranch.control.traffic import feedback as module
from anabranch.control.traffic.feedback import (
    FILLED_S,
    KEPT_S,
    REMEMBERED_S,
    DecisionMemory,
    RewardCounter,
    prune,
)
from anabranch.control.traffic.tables import Find, Outline
from anabranch.errors import InvalidRequest, LeaseLost, NotFound, RequestError
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.graph.plan.plan import Signature
from anabranch.router.traffic.decisions import Decision, Rewarded
from anabranch.router.traffic.feedback import TOO_EARLY, RewardEntry, RewardOutcome
from anabranch.specs.models import Traffic
from tests.clock import Clock
from tests.examples import examples

NOW = 1_000_000_000.0
PATH = {"chooser": "forest"}
_tokens = map(str, itertools.count())


def outlines(graph: str) -> Find:
    """Every graph has revisions 3, which has a router, and 4, which does not compile."""
    routers = {"chooser": ("forest", "net"), "second": ("a", "b")}
    known = {3: Outline(Signature({}, {}, 1.0, routers=routers), Traffic(), False), 4: None}

    def find(number: int) -> Outline | None:
        if number not in known:
            raise NotFound(f"graph {graph!r} has no revision {number}")
        return known[number]

    return find


def entry(id: str, reward: float = 1.0, token: str | None = None, **decision: Any) -> RewardEntry:
    made = Decision(id, **{"revision": 3, "path": PATH, **decision})
    return RewardEntry(made, reward, token or next(_tokens))


class Learner:
    """Sums rewards by graph, in a row of the store and in memory once that is committed."""

    def __init__(self) -> None:
        self.seen: list[Rewarded] = []
        self.fails = False
        self.done: list[str] = []

    def learn(self, connection: Connection, graph: str, counted: Sequence[Rewarded]) -> None:
        if self.fails:
            raise ZeroDivisionError
        rows = connection.scalar(sa.select(sa.func.count()).select_from(feedback))
        assert rows is not None
        assert rows >= len(counted)
        self.seen += counted

    def committed(self, graphs: Collection[str]) -> None:
        self.done += graphs


@pytest.fixture
def learner() -> Learner:
    return Learner()


@pytest.fixture
def counter(store: Store, learner: Learner) -> RewardCounter:
    return RewardCounter(store.database, outlines, [learner.learn], learner.committed, lambda: NOW)


def count(counter: RewardCounter, *entries: RewardEntry, graph: str = "digits") -> list[Any]:
    return list(asyncio.run(counter.count(graph, entries)))


def rows(store: Store) -> list[tuple[str, float]]:
    query = sa.select(feedback.c.graph, feedback.c.reward).order_by(feedback.c.number)
    with store.database.read() as connection:
        return [(graph, reward) for graph, reward in connection.execute(query)]


# Once for each id


def test_it_is_stored_and_learned(counter: RewardCounter, store: Store, learner: Learner) -> None:
    one = entry("a", 0.5, features={"chooser": (1.0, 2.0)})
    assert count(counter, one) == [RewardOutcome(True, 0.5)]
    assert rows(store) == [("digits", 0.5)]
    assert learner.seen == [Rewarded(one.decision, 0.5, NOW)]
    assert learner.done == ["digits"]


def test_the_first_counts_and_is_told_to_the_others(
    counter: RewardCounter, store: Store, learner: Learner
) -> None:
    found = count(counter, entry("a", 1.0), entry("b", 2.0), entry("a", 3.0))
    assert found == [RewardOutcome(True, 1.0), RewardOutcome(True, 2.0), RewardOutcome(False, 1.0)]
    assert count(counter, entry("b", 4.0)) == [RewardOutcome(False, 2.0)]
    assert [one.reward for one in learner.seen] == [1.0, 2.0]
    assert len(rows(store)) == 2


def test_what_is_sent_again_is_no_second_one(counter: RewardCounter, learner: Learner) -> None:
    one = entry("a", 1.0)
    assert count(counter, one) == count(counter, one) == [RewardOutcome(True, 1.0)]
    assert count(counter, one, one) == [RewardOutcome(True, 1.0)] * 2
    assert len(learner.seen) == 1


def test_graphs_have_ids_of_their_own(counter: RewardCounter, store: Store) -> None:
    assert count(counter, entry("a", 1.0), graph="digits") == [RewardOutcome(True, 1.0)]
    assert count(counter, entry("a", 2.0), graph="iris") == [RewardOutcome(True, 2.0)]
    assert rows(store) == [("digits", 1.0), ("iris", 2.0)]


def test_a_store_that_is_opened_again_knows_what_counted(url: str) -> None:
    for wanted in (True, False, False):
        store = Store.open(url)
        found = count(RewardCounter(store.database, outlines), entry("a", 1.0))
        assert found == [RewardOutcome(wanted, 1.0)]
        store.close()


@pytest.mark.parametrize("id", ["x" * 1024, "\U0001f333" * 1024, "a\x00b", "'; --", "ä", " "])
def test_ids_are_of_any_characters(counter: RewardCounter, id: str) -> None:
    assert count(counter, entry(id)) == [RewardOutcome(True, 1.0)]
    assert count(counter, entry(id)) == [RewardOutcome(False, 1.0)]
    assert count(counter, entry(id + "!")) == [RewardOutcome(True, 1.0)]


def test_many_at_once_go_in_few_transactions(
    store: Store, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    write = store.database.write

    def counted(*args: Any) -> Any:
        nonlocal commits
        commits += 1
        return write(*args)

    monkeypatch.setattr(store.database, "write", counted)

    async def main() -> list[Any]:
        counter = RewardCounter(store.database, outlines, [learner.learn], learner.committed)
        calls = [counter.count("digits", [entry(f"{n % 300}", n)]) for n in range(600)]
        return [one for call in await asyncio.gather(*calls) for one in call]

    found = asyncio.run(main())
    assert sum(one.counted for one in found) == 300
    assert [one.reward for one in found] == [*range(300), *range(300)]
    assert len(rows(store)) == len(learner.seen) == 300
    assert commits <= 4


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_each_id_counts_once_however_rewards_come(counter: RewardCounter, data: Any) -> None:
    """Calls of several routers at the same time, with repeats, against a dictionary."""
    run = next(_tokens)
    sent = [
        entry(f"{run} {id}", float(reward), path=path)
        for id, reward, path in data.draw(
            st.lists(
                st.tuples(
                    st.integers(0, 4),
                    st.integers(-3, 3),
                    st.sampled_from([PATH, {"chooser": "net", "second": "a"}, {}]),
                ),
                min_size=1,
                max_size=12,
            )
        )
    ]
    again = data.draw(st.lists(st.sampled_from(sent), max_size=6))
    entries = data.draw(st.permutations(sent + again))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(entries)), max_size=4)))
    calls = [entries[a:b] for a, b in itertools.pairwise([0, *cuts, len(entries)])]

    async def main() -> list[Any]:
        found = await asyncio.gather(*(counter.count("digits", call) for call in calls))
        return [one for call in found for one in call]

    model: dict[str, RewardEntry] = {}
    for one, outcome in zip(entries, asyncio.run(main()), strict=True):
        first = model.setdefault(one.decision.id, one)
        assert outcome == RewardOutcome(first.token == one.token, first.reward)


# All or nothing


def test_what_cannot_be_learned_does_not_count(
    counter: RewardCounter, store: Store, learner: Learner, caplog: pytest.LogCaptureFixture
) -> None:
    learner.fails = True
    with pytest.raises(ZeroDivisionError):
        count(counter, entry("a"))
    assert (rows(store), learner.done) == ([], [])
    assert "rewards for digits are not counted" in caplog.text
    learner.fails = False
    assert count(counter, entry("a")) == [RewardOutcome(True, 1.0)]


def test_without_the_lease_nothing_counts(
    counter: RewardCounter, store: Store, learner: Learner
) -> None:
    holder = Lease(store, ttl=600)
    assert holder.try_acquire()
    store.fence("somebody else")
    with pytest.raises(LeaseLost):
        count(counter, entry("a"))
    assert (rows(store), learner.seen) == ([], [])


# Made up


@pytest.mark.parametrize(
    ("decision", "kind", "message"),
    [
        ({"revision": 9}, NotFound, "has no revision 9"),
        ({"revision": 4}, NotFound, "does not compile"),
        (
            {"path": {"chooser": "boost"}},
            InvalidRequest,
            "no route 'boost' .there are: forest, net",
        ),
        (
            {"path": {"other": "net"}},
            InvalidRequest,
            "no router 'other' .there are: chooser, second",
        ),
        ({"features": {"second": (1.0,)}}, InvalidRequest, "features of 'second'"),
    ],
)
def test_what_the_graph_cannot_have_decided_is_refused(
    counter: RewardCounter, store: Store, decision: Any, kind: type[RequestError], message: str
) -> None:
    refused, counted = count(counter, entry("a", **decision), entry("b"))
    assert type(refused) is kind
    with pytest.raises(kind, match=message):
        raise refused
    assert counted == RewardOutcome(True, 1.0)
    assert len(rows(store)) == 1


@pytest.mark.parametrize("path", [{}, {"chooser": STAND_IN}, {"second": "b", "chooser": "net"}])
def test_what_it_can_have_decided_counts(counter: RewardCounter, path: Any) -> None:
    assert count(counter, entry("a", path=path)) == [RewardOutcome(True, 1.0)]


# Pruned


def test_the_oldest_rows_are_let_go_of(counter: RewardCounter, store: Store) -> None:
    for number in range(6):
        count(counter, entry(f"{number}", number))
    with store.database.write() as connection:
        prune(connection, NOW, rows=4)
    assert [reward for _, reward in rows(store)] == [2, 3, 4, 5]
    with store.database.write() as connection:
        prune(connection, NOW + KEPT_S + 1)
    assert rows(store) == []


def test_they_are_looked_for_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_S", 100.0)
    now = NOW
    counter = RewardCounter(store.database, outlines, clock=lambda: now)
    count(counter, entry("a"))
    now += 101
    count(counter, entry("b"))
    assert count(counter, entry("a"), entry("b")) == [
        RewardOutcome(True, 1.0),
        RewardOutcome(False, 1.0),
    ]


# Remembered


def test_decisions_of_all_routers_are_remembered() -> None:
    memory = DecisionMemory()
    memory.remember("digits", [("a", b"1"), ("b", b"2")])
    memory.remember("digits", [("a", b"3")])
    memory.remember("iris", [("c", b"4")])
    assert memory.recall("digits", ["a", "b", "c"]) == [b"3", b"2", None]
    assert memory.recall("nobody", ["a"]) == [None]


def test_the_oldest_are_forgotten() -> None:
    memory = DecisionMemory(limit=3)
    memory.remember("digits", [(id, b"") for id in "abc"])
    memory.remember("digits", [(id, b"") for id in "ad"])
    assert memory.recall("digits", "abcd") == [b"", None, b"", b""]


def test_a_day_later_they_are_forgotten() -> None:
    clock = Clock(0.0)
    memory = DecisionMemory(clock=clock)
    memory.remember("digits", [("a", b"1")])
    clock.now = REMEMBERED_S / 2
    memory.remember("digits", [("b", b"2")])
    clock.now = REMEMBERED_S + 1
    memory.remember("digits", [("c", b"3")])
    assert memory.recall("digits", "abc") == [None, b"2", b"3"]


def test_at_the_beginning_nobody_can_say_that_an_id_is_unknown() -> None:
    clock = Clock(0.0)
    memory = DecisionMemory(clock=clock)
    memory.begin()
    memory.remember("digits", [("a", b"1")])
    assert memory.recall("digits", "ab") == [b"1", TOO_EARLY]
    clock.now = FILLED_S
    assert memory.recall("digits", "ab") == [b"1", None]


def test_a_graph_that_is_gone_is_forgotten() -> None:
    memory = DecisionMemory()
    memory.remember("digits", [("a", b"1")])
    memory.remember("iris", [("a", b"2")])
    memory.keep({"iris"})
    assert (memory.recall("digits", "a"), memory.recall("iris", "a")) == ([None], [b"2"])
