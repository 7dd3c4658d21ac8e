from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.access.actor import ENGINE, Actor
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Intent, Moment
from anabranch.control.store.chain import GENESIS
from anabranch.control.store.event_log import EventFilter
from anabranch.control.store.schema import event_chain, events, outbox
from anabranch.control.store.store import Event, Store
from anabranch.errors import Conflict
from tests.control.actors import ANN, acting
from tests.control.stores import new_store
from tests.examples import examples


def write(store: Store, statement: Any, values: list[dict[str, Any]] | None = None) -> None:
    """Change the tables behind the store's back."""
    with store.database.write(fenced=False) as connection:
        connection.execute(statement, values)


# Who, and what changed


def test_an_event_tells_who_acted_and_from_where(store: Store) -> None:
    store.log("a", None, "first", "")
    with acting(ANN):
        store.log("a", None, "second", "")
    assert [event.actor for event in store.events()] == [ENGINE, ANN]


def test_texts_of_an_actor_are_cut_and_cleaned(store: Store) -> None:
    with acting(Actor("subject", "a\0b" + "c" * 300, "d" * 300, "\ud800")):
        store.log("a", None, "noted", "")
    (event,) = store.events()
    assert event.actor.name == "a\N{REPLACEMENT CHARACTER}b" + "c" * 252 + "…"
    assert (len(event.actor.address), event.actor.request_id) == (256, "?")
    assert store.verify_events().broken is None


def test_a_deploy_tells_its_bundle_and_an_operation_what_it_changed(store: Store) -> None:
    with acting(ANN):
        store.ensure_revision("a", "spec", "abc", force=True)
    store.change("a", partial(operations.arrived, moment=Moment(1.0, 1.0), number=1))
    created, promoted = store.events()
    assert (created.kind, created.actor, created.data) == (
        "revision_created",
        ANN,
        {"digest": "abc"},
    )
    assert created.change == {
        "before": {"revisions": {"1": None}}, "after": {"revisions": {"1": "pending"}},
    }  # fmt: skip
    assert (promoted.kind, promoted.actor) == ("promoted", ENGINE)
    assert promoted.change == {
        "before": {"stable": None, "weights": {}, "revisions": {"1": "pending"}},
        "after": {"stable": 1, "weights": {"1": 100.0}, "revisions": {"1": "live"}},
    }


# Filters


def filled(store: Store) -> None:
    with acting(ANN):
        store.log("team-a/one", 1, "weights_changed", "0")
    with acting(Actor("subject", "bob")):
        store.log("team-a/two", 2, "weights_changed", "1")
    store.log("team_a/one", 2, "rollout_step", "2")
    with acting(Actor("token")):
        store.log("b%", None, "rollout_paused", "3")


FILTERS = [
    (EventFilter(), "0123"),
    (EventFilter(graph="team-a/one"), "0"),
    (EventFilter(graph="team-a/*"), "01"),
    (EventFilter(graph="team_a/*"), "2"),
    (EventFilter(graph="*/one"), "02"),
    (EventFilter(graph="b%*"), "3"),
    (EventFilter(graph="team%"), ""),
    (EventFilter(kind="rollout_*"), "23"),
    (EventFilter(kind="weights_changed", revision=2), "1"),
    (EventFilter(actor="ann"), "0"),
    (EventFilter(actor="engine"), "2"),
    (EventFilter(actor="token"), "3"),
    (EventFilter(actor="key:ann"), "0"),
    (EventFilter(actor="subject:ann"), ""),
    (EventFilter(actor="subject:*"), "1"),
    (EventFilter(revision=2), "12"),
    (EventFilter(until=1.0), ""),
    (EventFilter(since=1.0, until=2.0**40), "0123"),
    (EventFilter(since=2.0**40), ""),
]


def test_filters_choose_events(store: Store) -> None:
    filled(store)
    for wanted, found in FILTERS:
        assert "".join(event.message for event in store.events(wanted)) == found, wanted
        newest = store.newest_events(wanted, 10)
        assert "".join(event.message for event in newest) == found, wanted
        assert [one.message for one in store.newest_events(wanted, 1)] == list(found[-1:]), wanted


def test_a_time_ends_before_what_begins_at_it(store: Store) -> None:
    filled(store)
    at = store.events()[1].at
    earlier, later = store.events(EventFilter(until=at)), store.events(EventFilter(since=at))
    assert later and all(event.at < at for event in earlier)
    assert all(event.at >= at for event in later) and len(earlier) + len(later) == 4


# The chain


def test_events_are_chained_and_verify(store: Store) -> None:
    assert store.verify_events().hash == GENESIS
    filled(store)
    found = store.verify_events()
    assert (found.verified, found.broken, found.unrecorded) == (4, None, 0)
    assert found.hash == store.events()[-1].hash
    assert store.verify_events(store.events()[1].hash).contains is True


def test_an_operation_that_fails_leaves_no_link(store: Store) -> None:
    store.ensure_revision("a", "spec", "abc", force=True)
    before = store.verify_events()

    def refuse(now: operations.Situation) -> operations.Change:
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.change("a", refuse)
    with pytest.raises(RuntimeError), store.database.write() as connection:
        connection.execute(event_chain.update().values(last_id=99))
        raise RuntimeError
    assert store.verify_events() == before
    store.log("a", None, "noted", "")
    assert [event.id for event in store.events()] == [1, 2]


def test_many_writers_make_one_chain(url: str, store: Store) -> None:
    others = [Store.open(url) for _ in range(4)]
    for other in others:
        other.ensure_revision(f"g{others.index(other)}", "spec", "d", force=True)

    def work(number: int) -> None:
        for _ in range(5):
            others[number].log("all", None, "noted", "")
            others[number].ensure_revision(
                f"g{number}", "spec", "d", intent=Intent("mirror", 5.0), force=True
            )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for other in others:
        other.close()
    found = store.verify_events()
    assert (found.broken, found.verified) == (None, 44)
    assert [event.id for event in store.events()] == list(range(1, 45))


_TAMPERINGS: dict[str, Callable[[Event], Any]] = {
    "changed": lambda one: events.update().where(events.c.id == one.id).values(actor="nobody"),
    "removed": lambda one: events.delete().where(events.c.id == one.id),
    "moved": lambda one: events.update().where(events.c.id == one.id).values(id=one.id + 100),
    "put in": lambda one: events.insert().values(
        id=-one.id, at=one.at, graph="a", kind="k", message="", actor_kind="engine", hash=one.hash
    ),
}


@pytest.mark.parametrize("kind", _TAMPERINGS)
@pytest.mark.parametrize("place", range(4))
def test_what_was_done_behind_the_stores_back_is_found(store: Store, kind: str, place: int) -> None:
    filled(store)
    write(store, _TAMPERINGS[kind](store.events()[place]))
    assert store.verify_events().broken is not None
    store.log("a", None, "noted", "goes on")
    assert store.verify_events().broken is not None


def test_bytes_where_a_text_was_are_found(tmp_path: Any) -> None:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    filled(store)
    write(store, sa.text("UPDATE events SET address = x'00' WHERE id = 2"))
    assert store.verify_events().broken == 2
    store.close()


# Pruning


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_a_pruned_chain_verifies_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = new_store(f"sqlite:///{tmp_path_factory.mktemp('pruned') / 'store.db'}")
    count = data.draw(st.integers(1, 8))
    for _ in range(count):
        store.log("a", None, "noted", "")
    head = store.verify_events()
    all_are_old, most = data.draw(st.booleans()), data.draw(st.integers(0, 9))
    untold = data.draw(st.none() | st.integers(1, count))
    if untold is not None:
        row = {"event_id": untold, "url": "http://x", "due_at": 0.0, "attempts": 0}
        write(store, outbox.insert(), [row])
    gone = store.forget_events(2.0**40 if all_are_old else 0.0, most)
    expected = count if all_are_old else max(0, count - most)
    assert gone == (expected if untold is None else min(expected, untold - 1))
    found = store.verify_events(head.hash)
    assert (found.broken, found.verified, found.hash) == (None, count - gone, head.hash)
    assert found.contains is True
    store.log("a", None, "noted", "later")
    assert store.verify_events().broken is None
    assert store.events()[-1].id == count + 1
    store.close()


def test_pruning_ends_before_the_first_event_that_is_young(store: Store) -> None:
    """Also where the clock was put back, and an older one comes after it."""
    for _ in range(4):
        store.log("a", None, "noted", "")
    store.ensure_revision("a", "spec", "d", force=True)
    at = store.events()[2].at
    assert store.forget_events(at, 100) == 2
    assert store.verify_events().broken is None
    assert store.forget_events(at, 100) == 0


def test_what_is_pruned_by_hand_is_missed(store: Store) -> None:
    filled(store)
    write(store, events.delete().where(events.c.id <= 2))
    assert store.verify_events().broken == 3


def test_a_whole_chain_that_was_written_anew_lacks_the_hash_that_was_kept(store: Store) -> None:
    filled(store)
    kept = store.verify_events().hash
    write(store, events.delete())
    write(store, event_chain.update().values(last_id=0, last=GENESIS))
    filled(store)
    found = store.verify_events(kept)
    assert found.broken is None and found.contains is False
