"""Records of jobs on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from anabranch.access.actor import ACTOR, Actor
from anabranch.client.batch.manifest import BatchJob
from anabranch.control.jobs import book as book_module
from anabranch.control.jobs.book import JobBook
from anabranch.control.jobs.record import JobPlan, JobRecord
from anabranch.control.store import event_log
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, NotFound, Unavailable


def record(id: str, at: float = 0.0, **fields: object) -> JobRecord:
    url = f"s3://bucket/{id}.csv?secret=1"
    job = BatchJob("digits", url, f"/out/{id}/", None, {"x": ["a", "b"]}, [], [])
    return JobRecord(id, job, JobPlan(32, 8), "key 'ci'", at, **fields)  # type: ignore[arg-type]


@pytest.fixture
def book(store: Store) -> JobBook:
    return JobBook(store.database)


def test_jobs_are_kept_as_they_are_the_newest_first(book: JobBook) -> None:
    first, second = record("a", 1.0), record("b", 2.0, progress={"rows": 3})
    book.add(first)
    book.add(second)
    assert book.all() == [second, first]
    assert book.get("a") == first
    with pytest.raises(NotFound, match="there is no job 'c'"):
        book.get("c")
    with pytest.raises(NotFound, match="there is no job 'c'"):
        book.change("c", lambda one: one)


def test_a_job_that_is_over_stays_so(book: JobBook) -> None:
    book.add(record("a"))
    assert book.change("a", lambda one: one.begun(5.0)).state == "running"
    over = book.change("a", lambda one: one.ended(6.0, "cancelled"))
    assert (over.state, over.started_at, over.ended_at) == ("cancelled", 5.0, 6.0)
    assert book.change("a", lambda one: one.ended(7.0, "finished")) == over
    assert book.get("a") == over


def test_the_oldest_that_are_over_are_forgotten(
    book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "MOST_OVER", 2)
    book.add(record("running", 0.0, state="running"))
    for at in range(1, 5):
        book.add(record(f"over-{at}", float(at), state="finished"))
    book.add(record("new", 9.0))
    assert [one.id for one in book.all()] == ["new", "over-4", "over-3", "running"]


def test_two_jobs_never_write_to_one_output(book: JobBook) -> None:
    first = record("a")
    again = replace(record("b"), job=replace(first.job, output="/out/a"))
    book.add(first)
    with pytest.raises(Conflict, match="job a writes to '/out/a' already"):
        book.add(again)
    book.change("a", lambda one: one.ended(1.0, "cancelled"))
    book.add(again)
    assert [one.id for one in book.open()] == ["b"]


def test_all_names_of_azure_mean_one_output(book: JobBook) -> None:
    names = ["az://rows/out", "abfs://rows/out/", "abfss://rows@one.dfs.core.windows.net/out",
             "abfs://one.dfs.core.windows.net/rows/out"]  # fmt: skip
    first = record("first")
    book.add(replace(first, job=replace(first.job, output=names[-1])))
    for at, name in enumerate(names):
        one = record(f"j{at}")
        with pytest.raises(Conflict, match="job first writes to 'abfs://one"):
            book.add(replace(one, job=replace(one.job, output=name)))
        book.add(replace(one, job=replace(one.job, output=f"{name.rstrip('/')}-{at}")))


def test_of_jobs_with_one_output_that_come_at_once_one_is_taken(book: JobBook) -> None:
    refused: list[Conflict] = []

    def add(number: int) -> None:
        one = record(f"j{number}")
        try:
            book.add(replace(one, job=replace(one.job, output="/out")))
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(book.open()), len(refused)) == (1, 7)


def test_jobs_that_wait_are_bounded(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MOST_OPEN", 2)
    book.add(record("a"))
    book.add(record("b"))
    with pytest.raises(Unavailable, match="2 jobs wait or run"):
        book.add(record("c"))
    book.change("a", lambda one: one.ended(1.0, "finished"))
    book.add(record("c"))


def test_whoever_starts_and_cancels_a_job_is_in_the_log(book: JobBook, store: Store) -> None:
    token = ACTOR.set(Actor("key", "ci"))
    try:
        book.add(record("a"))
        book.change("a", lambda one: replace(one, progress={"rows": 3}))
        book.change("a", lambda one: one.ended(1.0, "cancelled"))
        book.change("a", lambda one: one.ended(2.0, "cancelled"))
    finally:
        ACTOR.reset(token)
    told = [(one.kind, one.message, one.actor.name) for one in store.events("digits")]
    assert told == [
        ("job_pending", "job a is pending", "ci"),
        ("job_cancelled", "job a is cancelled", "ci"),
    ]


def test_a_change_that_cannot_be_told_of_is_not_made(
    book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add(record("a"))

    def dies(*_: object) -> None:
        raise RuntimeError("the controller is killed here")

    with monkeypatch.context() as patched:
        patched.setattr(event_log, "append", dies)
        with pytest.raises(RuntimeError):
            book.change("a", lambda one: one.ended(1.0, "finished"))
    assert book.get("a").state == "pending"


def test_jobs_that_were_over_long_ago_are_forgotten(book: JobBook) -> None:
    book.add(record("running", 0.0, state="running"))
    book.add(record("old", 1.0, state="failed", ended_at=9.0))
    book.add(record("new", 2.0, state="finished", ended_at=10.0))
    assert book.forget(10.0) == 1
    assert [one.id for one in book.all()] == ["new", "running"]


def test_changes_from_threads_are_one_after_the_other(book: JobBook) -> None:
    book.add(record("a", progress={"rows": 0}))

    def count() -> None:
        for _ in range(20):
            book.change("a", lambda one: record("a", progress={"rows": one.progress["rows"] + 1}))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.get("a").progress == {"rows": 80}


def test_views_have_times_and_no_secrets() -> None:
    view = record("a", 0.0).begun(1.5).view()
    assert view["input"] == "s3://bucket/a.csv?…"
    assert (view["columns"], view["replicas"], view["rows"]) == ({"x": ["a", "b"]}, 0, 32)
    assert view["started_at"] == "1970-01-01T00:00:01.500+00:00"
    assert view["ended_at"] is None
    assert JobRecord.from_json(record("a").to_json()) == record("a")
