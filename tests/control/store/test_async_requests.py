"""Asynchronous requests in the store: each is answered at most once unless it may be repeated."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from anabranch.control.store.async_requests import EVENT, AsyncRequests, KeptReply
from anabranch.control.store.store import Store
from anabranch.router.later import AsyncRequest, AsyncState

REQUEST = AsyncRequest(
    "/v2/models/digits/infer", (("x-user", "7"),), b"{}\x00", "key:ci", idempotent=False
)
REPLY = KeptReply(200, (("content-type", "application/json"),), b"\x00{}")
HOOK = "http://hooks/later"


@pytest.fixture
def requests(store: Store) -> AsyncRequests:
    return AsyncRequests(store.database)


def phase(requests: AsyncRequests, id: str) -> str | None:
    found = requests.find("digits", id, None)
    return None if found is None else found.phase


def test_a_request_is_claimed_once_and_its_reply_kept(requests: AsyncRequests) -> None:
    id = requests.add("digits", REQUEST).id
    assert requests.kept() == (1, 3)
    (due,) = requests.due(time.time(), 10, ())
    assert (due.id, due.graph, due.request, due.attempts) == (id, "digits", REQUEST, 0)
    assert requests.due(time.time(), 10, ()) == []
    assert phase(requests, id) == "running"
    requests.finish(id, REPLY)
    found = requests.find("digits", id, "key:ci")
    assert found is not None
    assert (found.phase, found.status) == ("done", 200)
    assert (found.headers, found.body) == (REPLY.headers, REPLY.body)
    assert requests.kept() == (0, 3)


def test_only_its_owner_and_who_sees_all_find_a_request(requests: AsyncRequests) -> None:
    id = requests.add("digits", REQUEST).id
    assert requests.find("digits", id, "key:other") is None
    assert requests.find("other", id, None) is None
    assert requests.withdraw("digits", id, "key:other") == (None, False)
    assert phase(requests, id) == "waiting"


def test_a_look_does_not_read_the_body(requests: AsyncRequests) -> None:
    id = requests.add("digits", REQUEST).id
    read: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        read.append(statement)

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        assert phase(requests, id) == "waiting"
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    (query,) = (one for one in read if "async_requests" in one)
    assert "async_requests.body" not in query


def test_graphs_that_are_full_are_left_out_and_the_oldest_go_first(requests: AsyncRequests) -> None:
    first, second = (requests.add("digits", REQUEST).id for _ in range(2))
    other = requests.add("other", REQUEST).id
    assert [one.id for one in requests.due(time.time(), 10, ("digits",))] == [other]
    assert [one.id for one in requests.due(time.time(), 1, ())] == [first]
    requests.postpone(first, time.time() + 1000)
    assert [one.id for one in requests.due(time.time(), 10, ())] == [second]
    assert [(one.id, one.attempts) for one in requests.due(time.time() + 2000, 9, ())] == [
        (first, 1)
    ]


@pytest.mark.parametrize(("idempotent", "expected"), [(True, "waiting"), (False, "lost")])
def test_what_was_running_at_a_crash(
    requests: AsyncRequests, idempotent: bool, expected: str
) -> None:
    waiting = requests.add("digits", REQUEST).id
    (running,) = requests.due(time.time(), 1, ())
    again = requests.add("digits", replace(REQUEST, idempotent=idempotent)).id
    requests.due(time.time(), 1, ())
    requests.recover()
    assert (phase(requests, running.id), phase(requests, again)) == ("lost", expected)
    assert waiting == running.id


def test_a_reply_comes_too_late_for_a_request_that_was_cancelled(
    requests: AsyncRequests, store: Store
) -> None:
    id = requests.add("digits", replace(REQUEST, webhook=HOOK)).id
    requests.due(time.time(), 1, ())
    cancelled = AsyncState(id, "cancelled")
    assert requests.withdraw("digits", id, "key:ci") == (cancelled, True)
    requests.finish(id, REPLY)
    requests.lose(id)
    requests.postpone(id, 0.0)
    assert phase(requests, id) == "cancelled"
    assert [one.data["state"] for one in store.events() if one.kind == EVENT] == ["cancelled"]
    assert requests.withdraw("digits", id, None) == (cancelled, False)
    assert phase(requests, id) is None


def test_a_webhook_hears_in_the_transaction_that_ends_a_request(
    requests: AsyncRequests, store: Store
) -> None:
    id = requests.add("digits", replace(REQUEST, webhook=HOOK)).id
    requests.due(time.time(), 1, ())
    assert store.outbox.is_empty()
    requests.finish(id, REPLY)
    (delivery,) = store.outbox.due(time.time() + 1)
    assert delivery.url == HOOK
    place = f"/v2/models/digits/requests/{id}"
    assert delivery.event.data == {"id": id, "state": "done", "status": 200, "location": place}


def test_replies_are_forgotten_after_their_time(requests: AsyncRequests) -> None:
    over, waiting = (requests.add("digits", REQUEST).id for _ in range(2))
    requests.due(time.time(), 1, ())
    requests.finish(over, REPLY)
    assert requests.forget(time.time() - 60) == 0
    assert requests.forget(time.time() + 60) == 1
    assert (phase(requests, over), phase(requests, waiting)) == (None, "waiting")
