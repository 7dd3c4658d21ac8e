from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from hypothesis import Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Intent, Moment, Note, Situation
from anabranch.control.store.store import RevisionInfo, Store
from anabranch.errors import Conflict, InvalidRequest, NotFound
from anabranch.specs.models import Rollout
from tests.control.machine import GRACE, LifecycleMachine
from tests.examples import examples

AT = 1000.0
MOMENT = Moment(AT, GRACE)
Decide: TypeAlias = Callable[[Situation], Change]
PLAN = Rollout.model_validate(
    {
        "steps": [5, 25.5],
        "hold": "1500ms",
        "mirror": 12.5,
        "analysis": {"interval": "250us", "metrics": [{"metric": "latency_p95", "max": "1.2x"}]},
        "webhooks": ["http://127.0.0.1:9/a"],
        "gate": "http://127.0.0.1:9/gate",
    }
)

REPLACE = Intent()


def add(store: Store, name: str = "digits", intent: Intent = REPLACE) -> int:
    return store.ensure_revision(
        name, f"spec of {name}", "d", "ada", "a change", intent, force=True
    )[0].number


def arrive(store: Store, number: int, name: str = "digits", at: float = AT) -> None:
    store.change(name, lambda now: operations.arrived(now, Moment(at, GRACE), number))


def up(store: Store, intent: Intent = REPLACE, name: str = "digits", at: float = AT) -> int:
    number = add(store, name, intent)
    arrive(store, number, name, at)
    return number


def states(store: Store, name: str = "digits") -> dict[int, str]:
    return {one.number: one.state for one in store.revisions(name)}


# Revisions


def test_the_same_content_is_another_revision_where_a_model_moved(store: Store) -> None:
    def ensured(digest: str, **pins: str) -> tuple[int, bool]:
        revision, is_new = store.ensure_revision("digits", "spec", digest, pins=pins)
        return revision.number, is_new

    assert ensured("abc", model="1") == (1, True)
    arrive(store, 1)
    assert ensured("abc", model="1") == (1, False)
    assert ensured("abc", model="2") == (2, True)
    assert ensured("abc", model="1") == (3, True), "revision 2 was to take over"
    arrive(store, 3)
    assert ensured("other") == (4, True)
    assert store.situation("digits").situation.coming == (4,)
    assert states(store) == {1: "warm", 2: "failed", 3: "live", 4: "pending"}


def test_what_was_seen_of_references_is_noted_with_the_revision(store: Store) -> None:
    def seen() -> dict[str, str]:
        return dict(store.situation("digits").seen)

    store.ensure_revision("digits", "spec", "d", pins={"a": "a1", "b": "b1"})
    assert seen() == {"a": "a1", "b": "b1"}
    store.ensure_revision("digits", "spec", "d", pins={"a": "a2", "b": "b1"}, seen={"a": "a2"})
    assert seen() == {"a": "a2", "b": "b1"}
    store.ensure_revision("digits", "spec", "d", pins={"a": "a2", "b": "b1"}, seen={"b": "b2"})
    assert seen() == {"a": "a2", "b": "b2"}  # also where nothing new is made
    assert len(store.revisions("digits")) == 2

    def refuse(before: Situation, after: Situation) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.ensure_revision("digits", "spec", "e", pins={"a": "a3"}, check=refuse)
    store.see("digits", {"c": "c1"})
    assert seen() == {"a": "a2", "b": "b2", "c": "c1"}


def test_the_cause_of_a_revision_is_an_event_of_it(store: Store) -> None:
    cause = Note(None, "model_moved", "it moved", {"a": 1})
    for _ in range(2):
        store.ensure_revision("digits", "spec", "d", cause=cause)
    kinds = [(one.kind, one.revision) for one in store.events("digits")]
    assert kinds == [("model_moved", 1), ("revision_created", 1)]


def test_a_mirror_that_is_to_answer_becomes_another_revision(store: Store) -> None:
    def ensured(intent: Intent) -> tuple[int, bool]:
        revision, is_new = store.ensure_revision("digits", "spec", "new", intent=intent)
        return revision.number, is_new

    up(store)
    assert ensured(Intent("mirror", 5.0)) == (2, True)
    arrive(store, 2)
    assert ensured(Intent("mirror", 10.0)) == (2, False)
    assert ensured(Intent("canary", 10.0)) == (3, True)
    arrive(store, 3)
    assert store.situation("digits").situation.weights == {1: 90.0, 3: 10.0}
    assert ensured(REPLACE) == (3, False)


def test_the_first_revision_creates_the_graph(store: Store) -> None:
    revision = store.ensure_revision("digits", "spec", "abc", "ada", "first")[0]
    assert (revision.number, revision.state, revision.digest) == (1, "pending", "abc")
    assert (revision.author, revision.message, revision.spec) == ("ada", "first", "spec")
    graph = store.situation("digits").situation
    assert (graph.state, graph.stable, graph.weights, graph.mirrors) == ("present", None, {}, {})
    assert store.revision("digits", 1) == revision


@pytest.mark.parametrize(
    "intent",
    [Intent(), Intent("canary", 0.05), Intent("mirror", 25.0), Intent("rollout", rollout=PLAN)],
)
def test_an_intent_is_kept(store: Store, intent: Intent) -> None:
    assert store.ensure_revision("digits", "spec", "d", intent=intent)[0].intent == intent
    assert store.situation("digits").situation.members[1].intent == intent
    assert store.revisions("digits")[0].intent == intent


def test_a_revision_that_is_refused_is_not_recorded(store: Store) -> None:
    with pytest.raises(InvalidRequest):
        add(store, intent=Intent("canary", 200.0))
    assert store.situations() == [] and store.revisions("digits") == []
    with pytest.raises(NotFound):
        store.situation("digits")
    assert add(store) == 1


def test_lists_come_without_specs_newest_first(store: Store) -> None:
    for _ in range(3):
        add(store)
    found = store.revisions("digits")
    assert [one.number for one in found] == [3, 2, 1]
    assert {type(one) for one in found} == {RevisionInfo}
    assert [one.number for one in store.revisions("digits", limit=2)] == [3, 2]
    assert store.revisions("nothing") == []


def test_no_spec_is_read_for_a_list_or_a_change(store: Store) -> None:
    """A thousand of them may be large, and are all there for as long as the graph."""
    up(store)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(store.database._writer, "before_cursor_execute", note)
    store.revisions("digits"), store.situations(), store.previous("digits")
    store.change("digits", lambda now: operations.promoted(now, MOMENT, 1))
    assert statements and not any("spec" in statement for statement in statements)
    store.revision("digits", 1)
    assert "spec" in statements[-1]


def test_texts_that_no_database_takes_are_mended(store: Store) -> None:
    revision = store.ensure_revision("digits", "spec", "d", "a\0da", "\ud800!")[0]
    assert (revision.author, revision.message) == ("a\N{REPLACEMENT CHARACTER}da", "?!")
    store.change("digits", lambda now: operations.failed(now, MOMENT, 1, "no\0file" + "x" * 10_000))
    reason = store.revision("digits", 1).reason
    assert reason.startswith("no\N{REPLACEMENT CHARACTER}file") and len(reason) == 8192


def test_unknown_names_say_what_there_is(store: Store) -> None:
    add(store)
    unknown = "no graph 'digit'; there are: digits"
    for ask in (store.situation, partial(store.change, decide=Change)):
        with pytest.raises(NotFound, match=unknown):
            ask("digit")
    with pytest.raises(NotFound, match="has no revision 7; it has 1 to 1"):
        store.revision("digits", 7)
    with pytest.raises(NotFound, match=unknown):
        store.revision("digit", 1)


def test_numbers_are_not_used_again_after_deletion(store: Store) -> None:
    up(store)
    store.change("digits", partial(operations.deleted, moment=MOMENT))
    assert store.situation("digits").situation.state == "deleting"
    assert states(store) == {1: "retired"}
    before = store.change("digits", partial(operations.gone, moment=MOMENT))
    assert store.situations() == []
    assert store.situation("digits") == before and before.situation.state == "deleted"
    assert add(store) == 2
    assert [one.situation.graph for one in store.situations()] == ["digits"]
    assert store.situation("digits").generation > before.generation


def test_the_revision_before_is_the_one_that_was_live_last(store: Store) -> None:
    add(store)
    assert store.previous("digits") is None
    arrive(store, 1, at=10.0)
    assert store.previous("digits") is None
    up(store, at=20.0), add(store), up(store, at=30.0)
    assert (store.situation("digits").situation.stable, store.previous("digits")) == (4, 2)
    store.change("digits", lambda now: operations.promoted(now, Moment(40.0, GRACE), 2))
    assert store.previous("digits") == 4
    store.change("digits", lambda now: operations.expired(now, Moment(1e9, GRACE)))
    assert store.previous("digits") == 4 and states(store)[4] == "retired"
    store.change("digits", lambda now: operations.redeployed(now, MOMENT, 4))
    store.change("digits", lambda now: operations.failed(now, MOMENT, 4, "no file"))
    assert store.previous("digits") == 4, "that it was live once stays known"
    store.change("digits", partial(operations.deleted, moment=MOMENT))
    assert store.previous("digits") == 2
    assert store.previous("nothing") is None


# Changes


def test_a_change_is_written_and_given_back(store: Store) -> None:
    up(store)
    stored = store.change("digits", lambda now: operations.started(now, MOMENT, 1))
    assert stored == store.situation("digits") == store.situations()[0]
    up(store, Intent("canary", 10.0)), up(store, Intent("mirror", 25.0))
    now = store.situation("digits").situation
    assert (now.weights, now.mirrors, now.stable) == ({1: 90.0, 2: 10.0}, {3: 25.0}, 1)
    assert all(isinstance(number, int) for number in (*now.weights, *now.mirrors))


def test_the_generation_grows_with_changes_only(store: Store) -> None:
    add(store)
    first = store.situation("digits").generation
    assert first > 0
    assert (
        store.change("digits", lambda now: operations.failed(now, MOMENT, 9, "")).generation
        == first
    )
    assert (
        store.change("digits", lambda now: operations.started(now, MOMENT, 1)).generation
        == first + 1
    )
    store.log("digits", 1, "note", "text")
    note = Change(store.situation("digits").situation, (Note(1, "note"),))
    assert store.change("digits", lambda now: note).generation == first + 1


def _wrong_number(now: Situation) -> Change:
    return operations.redeployed(now, MOMENT, 7)


def _refused(now: Situation) -> Change:
    raise Conflict("no")


def _broken(now: Situation) -> Change:
    after = operations.promoted(now, MOMENT, 2)
    return Change(after.situation, (*after.notes, Note(1, "x" * 8, data={"a": 1}), None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [(_refused, Conflict), (_wrong_number, NotFound), (_broken, AttributeError)],
)
def test_a_change_that_raises_changes_nothing(
    store: Store, operation: Decide, kind: type[Exception]
) -> None:
    up(store), up(store, Intent("canary", 10.0))
    before = store.situation("digits"), store.revisions("digits"), store.events()
    with pytest.raises(kind):
        store.change("digits", operation)
    assert (store.situation("digits"), store.revisions("digits"), store.events()) == before


def test_only_what_runs_or_comes_is_a_member(store: Store) -> None:
    up(store), up(store), add(store), up(store, name="iris"), add(store, "wine")
    stored = store.change("digits", lambda now: operations.failed(now, MOMENT, 3, "no"))
    assert sorted(stored.situation.members) == [1, 2]
    store.change("digits", lambda now: operations.expired(now, Moment(1e9, GRACE)))
    store.change("iris", partial(operations.deleted, moment=MOMENT))
    assert {one.situation.graph: sorted(one.situation.members) for one in store.situations()} == {
        "digits": [2],
        "iris": [],
        "wine": [1],
    }
    assert [one.situation.state for one in store.situations()] == ["present", "deleting", "present"]


def test_a_rollout_comes_back_as_it_was(url: str) -> None:
    store = Store.open(url)
    up(store), up(store, Intent("rollout", rollout=PLAN))
    store.change(
        "digits", lambda now: operations.paused(now, Moment(AT + 0.1, GRACE), "user", "a\n\"b'")
    )
    before = store.change("digits", lambda now: operations.resumed(now, Moment(AT + 1 / 3, GRACE)))
    state = before.situation.rollout
    assert state is not None and state.plan == PLAN and state.held == pytest.approx(0.1)
    store.close()
    again = Store.open(url)
    assert again.situation("digits") == before
    again.close()


# Events


def test_events_page_by_id(store: Store) -> None:
    add(store, "a"), add(store, "b"), add(store, "a", Intent("canary", 5.0))
    first = store.events(limit=2)
    rest = store.events(after=first[-1].id)
    assert [event.graph for event in first + rest] == ["a", "b", "a"]
    assert [event.revision for event in store.events("a")] == [1, 2]


def test_events_carry_data(store: Store) -> None:
    add(store)
    store.log("digits", 1, "note", "te\0xt", {"values": [1, 0.5, float("nan")], "step": {"a": "b"}})
    store.log("digits", None, "note", "")
    first, second = store.events()[-2:]
    assert first.message == "te\N{REPLACEMENT CHARACTER}xt"
    assert first.data == {"values": [1, 0.5, None], "step": {"a": "b"}}
    assert (second.revision, second.data) == (None, {})


# Several writers


def together(*tasks: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def test_concurrent_writers_number_revisions_without_gaps(url: str) -> None:
    Store.open(url).close()
    numbers: list[int] = []

    def write() -> None:
        own = Store.open(url)
        numbers.extend(add(own) for _ in range(10))
        own.close()

    together(*[write] * 4)
    assert sorted(numbers) == list(range(1, 41))


def test_concurrent_changes_are_made_one_after_the_other(url: str, store: Store) -> None:
    """Each reads what the one before wrote: none is lost."""
    up(store), up(store, Intent("canary", 50.0))
    store.change("digits", lambda now: operations.split(now, MOMENT, {1: 1000, 2: 1000}))

    def move(now: Situation) -> Change:
        return operations.split(now, MOMENT, {1: now.weights[1] - 1, 2: now.weights[2] + 1})

    def write() -> None:
        own = Store.open(url)
        for _ in range(10):
            own.change("digits", move)
        own.close()

    generation = store.situation("digits").generation
    together(*[write] * 4)
    stored = store.situation("digits")
    assert stored.situation.weights == {1: 960.0, 2: 1040.0}
    assert stored.generation == generation + 40


def test_readers_never_see_half_a_change(url: str, store: Store) -> None:
    up(store), up(store, Intent("canary", 50.0))
    seen: list[Situation] = []
    reading, over = threading.Event(), threading.Event()

    def write() -> None:
        assert reading.wait(60)
        for number in [1, 2] * 15:
            store.change("digits", partial(_swap, number))
        over.set()

    def read() -> None:
        own = Store.open(url)
        while not over.is_set():
            seen.append(own.situation("digits").situation)
            seen.append(own.situations()[0].situation)
            reading.set()
        own.close()

    together(write, read)
    for now in seen:
        assert now.stable is not None and now.members[now.stable].state == "live"
        assert {now.members[number].state for number in now.weights} <= {"live", "ready"}


def _swap(number: int, now: Situation) -> Change:
    return operations.promoted(now, MOMENT, number)


def test_many_writers_that_also_read_do_not_wait_for_each_other_for_ever(store: Store) -> None:
    """An operation may look something up in the store that it is applied to."""
    names = [f"g{n}" for n in range(24)]
    for name in names:
        add(store, name)
    barrier = threading.Barrier(len(names))

    def look_up(name: str, now: Situation) -> Change:
        store.revision(name, 1)
        return operations.started(now, MOMENT, 1)

    def write(name: str) -> None:
        barrier.wait(60)
        store.change(name, partial(look_up, name))

    together(*(partial(write, name) for name in names))
    assert {states(store, name)[1] for name in names} == {"deploying"}


# Against the lifecycle itself


class StoreMachine(LifecycleMachine):
    """The store does what the pure operations say, and forgets nothing."""

    count = 0

    def __init__(self, store: Store) -> None:
        super().__init__()
        StoreMachine.count += 1
        self.store = store
        self.name = f"g{StoreMachine.count}"
        self.now = dataclasses.replace(self.now, graph=self.name)
        self.fixed: dict[int, object] = {}
        self.generation = 0

    def do(self, operation: Decide) -> Change | None:
        before = self.now
        change = super().do(operation)
        if self.created or (change and change.situation.members):
            self._write(operation, before, change)
        return change

    def _write(self, operation: Decide, before: Situation, change: Change | None) -> None:
        new = [] if change is None else [n for n in change.situation.members if n > self.created]
        if new:
            intent = change.situation.members[new[0]].intent if change else Intent()
            assert (
                self.store.ensure_revision(self.name, "spec", "d", intent=intent, force=True)[
                    0
                ].number
                == new[0]
            )
        elif change is None:
            with pytest.raises((Conflict, InvalidRequest, NotFound)):
                self.store.change(self.name, operation)
        else:
            self.store.change(self.name, operation)
        stored = self.store.situation(self.name)
        assert stored.generation - self.generation == (self.now != before)
        self.generation = stored.generation

    @invariant()
    def the_store_holds_the_same(self) -> None:
        if not self.created:
            return
        assert _without_history(self.store.situation(self.name).situation, self.now) == self.now
        found = {one.number: one for one in self.store.revisions(self.name)}
        assert {n: one.state for n, one in found.items()} == {
            **self.down,
            **{n: member.state for n, member in self.now.members.items()},
        }
        for number, one in found.items():
            fixed = (one.digest, one.author, one.message, one.created_at)
            assert self.fixed.setdefault(number, fixed) == fixed


def _without_history(stored: Situation, now: Situation) -> Situation:
    """The store knows when a revision was live, also once it was down and comes back."""
    members = {
        number: dataclasses.replace(one, live_at=None)
        if number in now.members and now.members[number].live_at is None
        else one
        for number, one in stored.members.items()
    }
    return dataclasses.replace(stored, members=members)


@pytest.mark.hypothesis
def test_the_store_does_what_the_lifecycle_says(store: Store) -> None:
    # Not shrunk: each step is several transactions.
    run_state_machine_as_test(
        lambda: StoreMachine(store),
        settings=settings(
            max_examples=examples(15),
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],
        ),
    )
