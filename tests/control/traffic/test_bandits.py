from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from anabranch.components.bandits import State
from anabranch.control.store.schema import bandits as table
from anabranch.control.store.store import Store
from anabranch.control.traffic import bandits as module
from anabranch.control.traffic.bandits import Bandits, refusal
from anabranch.control.traffic.feedback import RewardCounter
from anabranch.control.traffic.tables import Outline
from anabranch.errors import InvalidRequest, LeaseLost
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.router.traffic.decisions import Decision, Rewarded
from anabranch.router.traffic.feedback import RewardEntry
from tests.control.learners import outline, rewarded

OUTLINES: Mapping[int, Outline] = {
    1: outline(pick={"strategy": "thompson"}),
    2: outline(["b", "a"], pick={"strategy": "thompson", "args": {"decay": 2.0}}),
    3: outline(["a", "c"], pick={"strategy": "thompson"}),
    4: outline(pick={"strategy": "linucb", "inputs": {"x": "x"}}),
    5: outline(pick={"strategy": "weighted"}),
}
NOW = 1000.0


def learning(store: Store, patience: float = 30.0) -> Bandits:
    return Bandits(store.database, lambda graph: OUTLINES.get, lambda: NOW, patience)


def learn(bandits: Bandits, store: Store, *counted: Rewarded, graph: str = "duo") -> None:
    with store.database.write() as connection:
        bandits.learn(connection, graph, counted)


def state(bandits: Bandits, revision: int = 1, graph: str = "duo") -> State:
    """What was learned for a revision."""
    learner = OUTLINES[revision].learners["pick"]
    text, at = bandits.states(graph)["pick", learner.key]
    assert at == NOW
    return learner.read(text)


@contextmanager
def failing(store: Store) -> Iterator[sa.Connection]:
    """A transaction that fails at its end."""
    with pytest.raises(RuntimeError), store.database.write() as connection:
        yield connection
        raise RuntimeError


def test_rewards_are_learned_in_their_order(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0), rewarded(0.0, "b"))
    learn(bandits, store, rewarded(0.5))
    expected = State.empty(("a", "b")).after("a", 1.0).after("b", 0.0).after("a", 0.5)
    assert state(bandits) == expected


def test_a_transaction_that_fails_teaches_nothing(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0))
    before = state(bandits)
    with failing(store) as connection:
        bandits.learn(connection, "duo", [rewarded(0.0), rewarded(0.0, "b")])
    assert state(bandits) == before
    learn(bandits, store, rewarded(0.5, "b"))
    assert state(bandits) == before.after("b", 0.5)


def test_a_controller_that_lost_its_lease_teaches_nothing(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0))
    store.fence("somebody else")
    with pytest.raises(LeaseLost):
        learn(bandits, store, rewarded(0.0))
    assert state(bandits) == State.empty(("a", "b")).after("a", 1.0)


def test_revisions_with_the_same_routes_go_on_with_each_others_state(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0), rewarded(1.0, "b", revision=2))
    # Each reward is discounted as the revision says that it is for.
    keep = 0.5**0.5
    assert state(bandits) == state(bandits, 2)
    assert state(bandits) == State.empty(("a", "b")).after("a", 1.0).after("b", 1.0, keep=keep)


def test_others_have_states_of_their_own(store: Store) -> None:
    bandits = learning(store)
    features = (1.0, 2.0)
    learn(
        bandits, store, rewarded(1.0), rewarded(0.0, "c", 3), rewarded(7.0, "a", 4, pick=features)
    )
    assert len(bandits.states("duo")) == 3
    assert state(bandits, 3) == State.empty(("a", "c")).after("c", 0.0)
    assert state(bandits, 4) == State.empty(("a", "b")).after("a", 7.0, features)
    assert bandits.states("other") == {}


def test_what_does_not_learn_has_no_state(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0, revision=5), rewarded(1.0, STAND_IN))
    assert bandits.states("duo") == {}


def test_a_state_that_cannot_be_read_is_begun_anew(store: Store) -> None:
    bandits = learning(store)
    learn(bandits, store, rewarded(1.0))
    with store.database.write() as connection:
        connection.execute(table.update().values(state='{"version": 2}'))
    learn(bandits, store, rewarded(0.0, "b"))
    assert state(bandits) == State.empty(("a", "b")).after("b", 0.0)


def test_a_reset_forgets_and_is_logged(store: Store) -> None:
    async def run() -> None:
        bandits = learning(store)
        for graph in ("duo", "other"):
            await asyncio.to_thread(learn, bandits, store, rewarded(1.0), graph=graph)
        await bandits.reset("duo", "nobody")
        assert len(bandits.states("duo")) == 1
        await bandits.reset("duo", "pick")
        assert bandits.states("duo") == {}
        await bandits.reset("duo", None)
        assert len(bandits.states("other")) == 1
        await bandits.drop("other")
        assert bandits.states("other") == {}

    asyncio.run(run())
    assert [(event.kind, event.message) for event in store.events()] == [
        ("bandit_reset", "what router 'nobody' has learned was forgotten"),
        ("bandit_reset", "what router 'pick' has learned was forgotten"),
        ("bandit_reset", "what all routers have learned was forgotten"),
    ]


def test_a_poll_waits_for_what_is_learned(store: Store) -> None:
    async def run() -> None:
        bandits = learning(store)
        first = await bandits.learned("duo", 0)
        assert first.version > 0
        assert first.states == {}
        waiting = asyncio.create_task(bandits.learned("duo", first.version))
        elsewhere = asyncio.create_task(bandits.learned("other", first.version))
        await asyncio.to_thread(learn, bandits, store, rewarded(1.0))
        assert not waiting.done()
        bandits.committed(["duo", "other"])
        second = await waiting
        assert second.version > first.version
        assert list(second.states) == [("pick", OUTLINES[1].learners["pick"].key)]
        assert not elsewhere.done()  # nothing was learned there
        elsewhere.cancel()

    asyncio.run(run())


def test_a_poll_in_vain_gets_the_same_again(store: Store) -> None:
    async def run() -> None:
        bandits = learning(store, patience=0.01)
        first = await bandits.learned("duo", 0)
        assert await bandits.learned("duo", first.version) == first

    asyncio.run(run())


def test_versions_come_with_pauses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        bandits = learning(store)
        version = (await bandits.learned("duo", 0)).version
        for _ in range(10):
            await bandits.reset("duo", None)
            await asyncio.sleep(0)
        # The first goes out at once, all others together after a pause that does not end here.
        assert (await bandits.learned("duo", version)).version == version + 1
        await asyncio.sleep(0)
        assert (await bandits.learned("duo", version)).version == version + 1

    monkeypatch.setattr(module, "PAUSE_S", 3600.0)
    asyncio.run(run())


def test_a_new_controller_never_gives_a_version_that_the_old_one_gave(store: Store) -> None:
    async def run() -> None:
        old = learning(store)
        await asyncio.to_thread(learn, old, store, rewarded(1.0))
        before, after = [await one.learned("duo", 0) for one in (old, learning(store))]
        assert after.version > before.version
        assert after.states == before.states != {}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("revision", "reward", "features", "message"),
    [
        (1, 1.1, {}, "router 'pick' cannot learn from this: its rewards must be from 0 to 1"),
        (1, -0.1, {}, "must be from 0 to 1, not -0.1"),
        (1, 0.5, {"pick": (1.0,)}, "it learns from 0 features of each request, not 1"),
        (4, 0.5, {}, "it learns from 2 features of each request, not 0"),
        (4, 0.5, {"pick": (1.0, 1e7)}, "a norm of at most 1e+06"),
        (4, 2e9, {"pick": (1.0, 1.0)}, "must be from -1e+09 to 1e+09"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    revision: int, reward: float, features: dict[str, tuple[float, ...]], message: str
) -> None:
    decision = Decision("x", revision, {"pick": "a"}, features)
    found = refusal(OUTLINES[revision], decision, reward)
    assert isinstance(found, InvalidRequest)
    assert message in str(found)


@pytest.mark.parametrize(
    ("revision", "path", "features"),
    [
        (1, {"pick": "a"}, {}),
        (1, {"pick": STAND_IN}, {}),
        (4, {"pick": "a"}, {"pick": (1.0, 2.0)}),
        (5, {"pick": "a"}, {}),
        (5, {}, {}),
    ],
)
def test_what_can_be_learned_is_not(
    revision: int, path: dict[str, str], features: dict[str, tuple[float, ...]]
) -> None:
    assert refusal(OUTLINES[revision], Decision("x", revision, path, features), 1.0) is None


def test_a_reward_is_counted_and_learned_once_or_refused(store: Store) -> None:
    async def run() -> None:
        bandits = learning(store)
        counter = RewardCounter(
            store.database, lambda graph: OUTLINES.get, [bandits.learn], bandits.committed
        )
        good = RewardEntry(Decision("one", 1, {"pick": "a"}), 1.0, "token")
        bad = RewardEntry(Decision("two", 1, {"pick": "b"}), 5.0, "token")
        again = RewardEntry(Decision("one", 1, {"pick": "a"}), 0.0, "another")
        first, refused = await counter.count("duo", [good, bad])
        assert first == (True, 1.0)
        assert isinstance(refused, InvalidRequest)
        assert await counter.count("duo", [again]) == [(False, 1.0)]
        assert state(bandits) == State.empty(("a", "b")).after("a", 1.0)

    asyncio.run(run())
