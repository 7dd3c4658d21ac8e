from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from anabranch.control.lifecycle.operations import Change, Note, Situation
from anabranch.control.store.outbox import Delivery
from anabranch.control.store.store import Store

FAR = 1e12
HOUR = 3600.0


def telling(*notes: Note) -> Callable[[Situation], Change]:
    return lambda now: Change(now, notes)


def due(store: Store, now: float = FAR, limit: int = 100) -> list[Delivery]:
    return store.outbox.due(now, limit)


@pytest.fixture
def graph(store: Store) -> Store:
    store.ensure_revision("digits", "spec", "d")
    return store


def test_a_note_calls_each_of_its_urls(graph: Store) -> None:
    data = {"step": 1, "weight": 5.0}
    graph.change("digits", telling(Note(1, "rollout_step", "5 %", data, ("http://a", "http://b"))))
    event = graph.events()[-1]
    first, second = due(graph)
    assert (first.url, second.url) == ("http://a", "http://b")
    assert (first.event, first.attempts) == (event, 0)
    assert (event.kind, event.message, event.data) == ("rollout_step", "5 %", data)


def test_what_nobody_wants_to_hear_of_is_not_called(graph: Store) -> None:
    graph.change("digits", telling(Note(None, "weights_changed")))
    assert due(graph) == []


def test_a_change_that_raises_calls_nobody(graph: Store) -> None:
    def wrong(now: Situation) -> Change:
        return Change(now, (Note(1, "a", notify=("http://a",)), Note(1, "b", notify=(None,))))  # type: ignore[arg-type]

    with pytest.raises(Exception, match="url"):
        graph.change("digits", wrong)
    assert due(graph) == [] and [event.kind for event in graph.events()] == ["revision_created"]


def test_a_call_that_is_over_is_not_made_again(graph: Store) -> None:
    graph.change("digits", telling(Note(1, "a", notify=("http://a", "http://b"))))
    first, second = due(graph)
    graph.outbox.strike(first.id)
    graph.outbox.strike(first.id)
    assert due(graph) == [second]


def test_a_postponed_call_waits_and_counts(graph: Store) -> None:
    graph.change("digits", telling(Note(1, "a", notify=("http://a", "http://b"))))
    first, second = due(graph)
    graph.outbox.postponed(first.id, FAR)
    assert due(graph, now=FAR - 1) == [second]
    assert due(graph, now=FAR - HOUR)[-1].id == first.id  # a clock that was set back
    late = due(graph)
    assert [(one.id, one.attempts) for one in late] == [(second.id, 0), (first.id, 1)]


def test_a_url_hears_of_events_in_their_order(graph: Store) -> None:
    graph.change("digits", telling(Note(1, "a", notify=("http://a", "http://b"))))
    graph.change("digits", telling(Note(1, "b", notify=("http://b", "http://a"))))
    first, second = due(graph)
    assert [(one.url, one.event.kind) for one in (first, second)] == [
        ("http://a", "a"),
        ("http://b", "a"),
    ]
    graph.outbox.postponed(first.id, FAR)
    graph.outbox.strike(second.id)
    assert [(one.url, one.event.kind) for one in due(graph, FAR - 1)] == [("http://b", "b")]
    graph.outbox.strike(first.id)
    found = [(one.url, one.event.kind) for one in due(graph)]
    assert found == [("http://b", "b"), ("http://a", "b")]


def test_urls_can_be_left_out(graph: Store) -> None:
    graph.change("digits", telling(Note(1, "a", notify=("http://a", "http://b"))))
    found = graph.outbox.due(FAR, 1, ("http://a",))
    assert [one.url for one in found] == ["http://b"]


def test_nothing_is_due_before_its_time_and_no_more_than_asked_for(graph: Store) -> None:
    urls = tuple(f"http://{n}" for n in range(5))
    graph.change("digits", telling(Note(1, "a", notify=urls)))
    for one in due(graph):
        graph.outbox.postponed(one.id, FAR)
    assert due(graph, now=FAR - 1) == []
    assert [one.url for one in due(graph, limit=3)] == list(urls[:3])


def test_calls_outlive_the_process(url: str) -> None:
    first = Store.open(url)
    first.ensure_revision("digits", "spec", "d")
    first.change("digits", telling(Note(1, "a", notify=("http://a",))))
    expected: list[Any] = due(first)
    first.close()
    second = Store.open(url)
    assert due(second) == expected
    second.close()
