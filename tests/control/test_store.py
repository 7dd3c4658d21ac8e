from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.control.store import Store
from anabranch.errors import EngineError, NotFound


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'store.db'}")


def add(store: Store, name: str = "digits", digest: str = "d") -> int:
    return store.add_revision(name, f"spec of {digest}", digest, "ada", "a change").number


def test_first_revision_creates_the_graph(store: Store) -> None:
    revision = store.add_revision("digits", "spec", "abc", "ada", "first")
    assert (revision.number, revision.state, revision.digest) == (1, "pending", "abc")
    graph = store.graph("digits")
    assert (graph.state, graph.live) == ("present", None)


def test_promotion_retires_the_previous_revision(store: Store) -> None:
    for number in (add(store), add(store)):
        store.start("digits", number)
        store.promote("digits", number)
    assert [r.state for r in store.revisions("digits")] == ["live", "retired"]
    assert store.graph("digits").live == 2


def test_failure_keeps_the_live_revision(store: Store) -> None:
    store.promote("digits", add(store))
    store.fail("digits", add(store), "node 'net': no such file")
    newest, first = store.revisions("digits")
    assert (newest.state, newest.reason) == ("failed", "node 'net': no such file")
    assert (first.state, store.graph("digits").live) == ("live", 1)


def test_a_live_revision_cannot_fail_and_a_failed_one_cannot_go_live(store: Store) -> None:
    live, failed = add(store), add(store)
    store.promote("digits", live)
    store.fail("digits", failed, "no")
    store.fail("digits", live, "no")
    store.promote("digits", failed)
    assert [r.state for r in store.revisions("digits")] == ["failed", "live"]
    assert store.graph("digits").live == live


def test_deleted_graph_is_gone_but_its_numbers_are_not_used_again(store: Store) -> None:
    store.promote("digits", add(store))
    store.delete("digits")
    assert store.graph("digits").state == "deleting"
    assert [r.state for r in store.revisions("digits")] == ["retired"]
    store.mark_deleted("digits")
    assert store.graphs() == []
    assert add(store) == 2
    assert [graph.name for graph in store.graphs()] == ["digits"]


def test_deploying_again_while_deleting_keeps_the_graph(store: Store) -> None:
    store.promote("digits", add(store))
    store.delete("digits")
    add(store)
    store.mark_deleted("digits")
    assert store.graph("digits").state == "present"


def test_unknown_names_say_what_there_is(store: Store) -> None:
    add(store)
    with pytest.raises(NotFound, match="no graph 'digit'; there are: digits"):
        store.graph("digit")
    with pytest.raises(NotFound, match="has no revision 7; it has 1 to 1"):
        store.revision("digits", 7)


def test_unsettled_is_what_the_controller_must_look_at(store: Store) -> None:
    store.promote("digits", add(store))
    store.fail("digits", add(store), "no")
    add(store), add(store, "iris")
    store.delete("iris")
    store.fail("wine", add(store, "wine"), "no")
    found = store.unsettled()
    assert {name: [(r.number, r.state) for r in each] for name, each in found.items()} == {
        "digits": [(1, "live"), (3, "pending")],
        "wine": [],
    }


def test_events_page_by_id(store: Store) -> None:
    add(store, "a"), add(store, "b"), add(store, "a")
    first = store.events(limit=2)
    rest = store.events(after=first[-1].id)
    assert [event.graph for event in first + rest] == ["a", "b", "a"]
    assert [event.revision for event in store.events(graph="a")] == [1, 2]


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'store.db'}"
    store = Store.open(url)
    add(store)
    store.close()
    assert Store.open(url).revision("digits", 1).message == "a change"


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE anabranch_schema SET version = 99")
    with pytest.raises(EngineError, match="schema version 99, this anabranch reads 1"):
        Store.open(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["nonsense", "nosuchdialect://x/y"])
def test_a_bad_url_is_named(url: str) -> None:
    with pytest.raises(EngineError, match="cannot open the store"):
        Store.open(url)


def test_concurrent_writers_number_revisions_without_gaps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store.open(url)
    numbers: list[int] = []

    def write() -> None:
        own = Store.open(url)
        numbers.extend(add(own) for _ in range(10))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "start", "promote", "fail", "delete", "gone"]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 4),
    ),
    max_size=25,
)


def apply(store: Store, operation: str, name: str, number: int) -> None:
    if operation == "add":
        add(store, name, digest=f"{name}{number}")
    elif operation in ("delete", "gone"):
        {"delete": store.delete, "gone": store.mark_deleted}[operation](name)
    elif operation == "fail":
        store.fail(name, number, "reason")
    else:
        {"start": store.start, "promote": store.promote}[operation](name, number)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_history_is_dense_and_immutable(operations: list[tuple[str, str, int]]) -> None:
    store = Store.open("sqlite://")
    seen: dict[tuple[str, int], object] = {}
    for operation, name, number in operations:
        if operation != "add" and not seen.get((name, 1)):
            continue
        apply(store, operation, name, number)
        for graph in ("a", "b"):
            revisions = store.revisions(graph)
            assert [r.number for r in revisions] == list(range(len(revisions), 0, -1))
            live = [r.number for r in revisions if r.state == "live"]
            assert len(live) <= 1
            if revisions:
                assert store.graph(graph).live == (live[0] if live else None)
            for revision in revisions:
                fixed = dataclasses.replace(revision, state="pending", reason="")
                assert seen.setdefault((graph, revision.number), fixed) == fixed
