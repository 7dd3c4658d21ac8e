"""Each job that should run has a process, and no other has one, whatever dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from anabranch.control.jobs.book import JobBook
from anabranch.control.jobs.metrics import JobMetrics
from anabranch.control.jobs.record import JobRecord
from anabranch.control.jobs.replicas import ReplicaSpec
from anabranch.control.jobs.runner import MOST_AT_ONCE, JobRunner
from anabranch.control.jobs.worker import JobStatus
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Moment
from anabranch.control.release.releases import Releases
from anabranch.control.settings.job_places import read_places
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.errors import Unavailable
from anabranch.telemetry.definitions import JOB_ROWS
from anabranch.telemetry.registry import Registry
from tests.clock import Clock
from tests.control.control_api import TestControl
from tests.control.jobs import test_book
from tests.waiting import eventually

MOMENT = Moment(1.0, 1.0)
PLACES = read_places("s3://bucket,/out")
PROGRESS = {"rows": 10, "done": 0, "failed": 0, "resumed": 0}


def record(id: str, at: float = 0.0) -> JobRecord:
    one = test_book.record(id, at)
    return replace(one, job=replace(one.job, input=f"s3://bucket/{id}.csv"))


class Processes:
    """Processes that a test ends, and that tell what it says."""

    def __init__(self) -> None:
        self.told: dict[str, JobStatus | None] = {}
        self.replicas: list[ReplicaSpec | None] = []
        self.troubles: dict[str, Exception] = {}
        """Raised where the process of a job is started."""

    def running(self) -> set[str]:
        return set(self.told)

    def start(self, record: JobRecord, replicas: ReplicaSpec | None) -> None:
        if record.id in self.troubles:
            raise self.troubles[record.id]
        self.told[record.id] = None
        self.replicas.append(replicas)

    def status(self, id: str) -> JobStatus | None:
        return self.told[id]

    def stop(self, id: str) -> None:
        del self.told[id]


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def book(store: Store) -> JobBook:
    return JobBook(store.database)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def runner(
    store: Store, book: JobBook, processes: Processes, tmp_path: Path, registry: Registry
) -> JobRunner:
    settings = Settings.from_env({"ANABRANCH_HOME": str(tmp_path)})
    store.ensure_revision("digits", "spec", "d")
    return JobRunner(
        store, book, Releases(settings), processes, PLACES, Clock(50.0), JobMetrics(registry)
    )


def events(store: Store) -> list[str]:
    return [
        one.message
        for one in store.events("digits")
        if one.kind.startswith("job_") and one.kind != "job_pending"
    ]


def test_jobs_run_one_after_the_other(
    runner: JobRunner, book: JobBook, processes: Processes, store: Store
) -> None:
    for at in range(MOST_AT_ONCE + 2):
        book.add(record(f"j{at}", float(at)))
    runner.round()
    assert processes.running() == {"j0", "j1"}
    assert book.get("j0").started_at == 50.0
    processes.told["j0"] = JobStatus("running", "", {"rows": 10, "done": 4})
    runner.round()
    assert book.get("j0").progress == {"rows": 10, "done": 4}
    processes.told["j0"] = JobStatus("finished", "", {"rows": 10, "done": 10})
    runner.round()
    assert (book.get("j0").state, book.get("j0").progress["done"]) == ("finished", 10)
    assert processes.running() == {"j1", "j2"}
    processes.told["j1"] = JobStatus("failed", "the graph is gone", {})
    runner.round()
    assert book.get("j1").reason == "the graph is gone"
    assert processes.running() == {"j2", "j3"}
    assert events(store) == [
        "job j0 is running", "job j1 is running", "job j0 is finished", "job j2 is running",
        "job j1 is failed: the graph is gone", "job j3 is running",
    ]  # fmt: skip


def test_a_process_that_is_gone_is_started_again(
    runner: JobRunner, book: JobBook, processes: Processes
) -> None:
    book.add(record("a"))
    runner.round()
    processes.stop("a")
    runner.round()
    assert processes.running() == {"a"}
    assert book.get("a").state == "running"


@pytest.mark.parametrize("trouble", [Unavailable("the store is away"), OSError("no Ray")])
def test_a_job_in_trouble_waits_and_keeps_no_other_from_running(
    runner: JobRunner, book: JobBook, processes: Processes, trouble: Exception
) -> None:
    processes.troubles = {"a": trouble}
    processes.told["lost"] = None
    for at, id in enumerate("ab"):
        book.add(record(id, float(at)))
    for _ in range(2):
        runner.round()
        assert processes.running() == {"b"}
        assert (book.get("a").state, book.get("b").state) == ("running", "running")
    processes.troubles = {}
    runner.round()
    assert processes.running() == {"a", "b"}


def test_a_job_that_is_cancelled_loses_its_process(
    runner: JobRunner, book: JobBook, processes: Processes
) -> None:
    book.add(record("a"))
    runner.round()
    processes.told["a"] = JobStatus("finished", "", {})
    book.change("a", lambda one: one.ended(51.0, "cancelled"))
    runner.round()
    assert processes.running() == set()
    assert book.get("a").state == "cancelled"


def test_a_process_of_no_job_ends(runner: JobRunner, processes: Processes) -> None:
    processes.told["lost"] = None
    runner.round()
    assert processes.running() == set()


def test_a_job_whose_revision_is_not_there_fails(
    runner: JobRunner, book: JobBook, processes: Processes, store: Store
) -> None:
    one = record("a")
    book.add(replace(one, plan=replace(one.plan, replicas=2)))
    runner.round()
    assert book.get("a").state == "failed"
    assert "has no stable revision" in book.get("a").reason
    assert processes.running() == set()
    assert events(store)[-1].startswith("job a is failed: graph 'digits'")


def test_a_job_keeps_to_the_revision_with_which_its_replicas_began(
    processes: Processes, tmp_path: Path
) -> None:
    control = TestControl(tmp_path)
    control.up(1)
    releases = Releases(Settings.from_env({"ANABRANCH_HOME": str(tmp_path / "home")}))
    book = JobBook(control.store.database)
    runner = JobRunner(control.store, book, releases, processes, PLACES, Clock(50.0))
    one = record("a")
    book.add(replace(one, plan=replace(one.plan, replicas=2)))
    book.add(record("b"))
    runner.round()
    assert (book.get("a").job.revision, book.get("b").job.revision) == (1, None)
    assert control.deploy()[0] == 202
    control.arrive(2)
    assert control.store.situation("digits").situation.stable == 2
    processes.stop("a")
    runner.round()
    begun = [one for one in processes.replicas if one is not None]
    assert [one.revision for one in begun] == [1, 1]
    control.store.close()


@pytest.mark.parametrize(
    ("places", "text"),
    [("s3://bucket", "output: '/out/a/' is not below"), ("/out", "input: 's3://bucket/a.csv' is")],
)
def test_a_job_goes_on_only_where_the_settings_still_let_it(
    runner: JobRunner, book: JobBook, processes: Processes, places: str, text: str
) -> None:
    """After a restart of the engine with narrower settings: one that ran, and one that waited."""
    for at in range(MOST_AT_ONCE):
        book.add(record(f"j{at}" if at else "a", float(at)))
    runner.round()
    book.add(record("later", 9.0))
    processes.told.clear()
    runner._allowed = read_places(places)
    runner.round()
    runner.round()
    assert processes.running() == set()
    assert {one.state for one in book.all()} == {"failed"}
    assert text in book.get("a").reason and "ANABRANCH_JOBS" in book.get("later").reason


def test_jobs_of_a_graph_that_is_deleted_fail(
    runner: JobRunner, book: JobBook, processes: Processes, store: Store
) -> None:
    for at in range(MOST_AT_ONCE + 1):
        book.add(record(f"j{at}", float(at)))
    runner.round()
    processes.told["j0"] = JobStatus("finished", "", PROGRESS)
    store.change("digits", partial(operations.deleted, moment=MOMENT))
    runner.round()
    assert processes.running() == set()
    found = {(one.state, one.reason) for one in book.all()}
    assert found == {("failed", "graph 'digits' was deleted")}
    assert len([one for one in events(store) if "is failed" in one]) == MOST_AT_ONCE + 1


def test_rows_are_counted_once_each(
    runner: JobRunner, book: JobBook, processes: Processes, registry: Registry
) -> None:
    book.add(record("a"))
    runner.round()
    told: list[dict[str, int]] = [
        {},
        {"done": 4, "failed": 1},
        {"done": 4, "failed": 1},
        {},  # its process was started again
        {"done": 6, "failed": 1, "resumed": 4},
        {"done": 10, "failed": 3, "resumed": 4},
    ]
    for one in told:
        processes.told["a"] = JobStatus("running", "", {**PROGRESS, **one} if one else {})
        runner.round()
        assert book.get("a").progress or not one
    counted = {("digits", "answered"): 7.0, ("digits", "failed"): 3.0}
    assert registry.snapshot()[JOB_ROWS.name] == counted
    book.add(record("b"))
    runner.round()
    for done in (6, 10):
        processes.told["b"] = JobStatus("running", "", {**PROGRESS, "done": done, "resumed": 5})
        runner.round()
    assert registry.snapshot()[JOB_ROWS.name] == {**counted, ("digits", "answered"): 11.0}


def test_it_looks_again_at_once_where_it_is_woken(
    runner: JobRunner, book: JobBook, processes: Processes
) -> None:
    async def main() -> None:
        running = asyncio.create_task(runner.run())
        await asyncio.sleep(0.05)
        book.add(record("a"))
        runner.wake()
        await eventually(lambda: processes.running() == {"a"})
        running.cancel()

    asyncio.run(main())
