"""The jobs in the store: a document for each, of which the newest that are over are kept.

Jobs that are over have documents of their own kind, so that to look for what is to run costs the
same however many there were. Each change of a job's state is an event, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.engine import Connection

from anabranch.components.artefacts.uris import redacted
from anabranch.control.jobs.record import JobRecord
from anabranch.control.lifecycle.operations import Note
from anabranch.control.settings.job_places import without_account
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.documents import document, documents_of, put_document
from anabranch.errors import Conflict, NotFound, Unavailable

PREFIX, OVER_PREFIX = "job/", "job-over/"
MOST_OVER = 1000
"""Jobs that are over and on record."""
MOST_OPEN = 1000
"""Jobs that are not over."""


class JobBook:
    """Reads and writes records of jobs; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[JobRecord]:
        """Return all jobs, the newest first."""
        with self._database.read() as connection:
            found = [*_jobs(connection, PREFIX), *_jobs(connection, OVER_PREFIX)]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def open(self) -> list[JobRecord]:
        """Return the jobs that are not over, in any order."""
        with self._database.read() as connection:
            return _jobs(connection, PREFIX)

    def get(self, id: str) -> JobRecord:
        """Return a job; NotFound without one of that id."""
        with self._database.read() as connection:
            return _job(connection, id)

    def add(self, record: JobRecord) -> None:
        """Keep a new job, and forget the oldest that are over beyond ``MOST_OVER``.

        Conflict where a job that is not over has the same output, Unavailable where ``MOST_OPEN``
        are not over.
        """
        with self._database.write() as connection:
            _tell(connection, record)  # first: the log lets one writer in at a time
            _check(record, _jobs(connection, PREFIX))
            over = sorted(_jobs(connection, OVER_PREFIX), key=lambda one: one.created_at)
            for one in over[: max(0, len(over) - MOST_OVER)]:
                put_document(connection, OVER_PREFIX + one.id, "")
            _put(connection, record)

    def change(self, id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Change a job that is not over, and return it; one that is over stays as it is."""
        with self._database.write() as connection:
            before = _job(connection, id, hold=True)
            after = before if before.is_over else change(before)
            if after != before:
                _put(connection, after)
            if after.state != before.state:
                _tell(connection, after)
        return after

    def forget(self, before: float) -> int:
        """Remove the jobs that were over before a Unix time; return how many."""
        with self._database.write() as connection:
            over = _jobs(connection, OVER_PREFIX)
            old = [one for one in over if one.ended_at is not None and one.ended_at < before]
            for one in old:
                put_document(connection, OVER_PREFIX + one.id, "")
        return len(old)


def _jobs(connection: Connection, prefix: str) -> list[JobRecord]:
    return [JobRecord.from_json(text) for text in documents_of(connection, prefix)]


def _job(connection: Connection, id: str, hold: bool = False) -> JobRecord:
    found = document(connection, PREFIX + id, hold) or document(connection, OVER_PREFIX + id, hold)
    if found is None:
        raise NotFound(f"there is no job {id!r}; `anabranch jobs` lists those that there are")
    return JobRecord.from_json(found.text)


def _put(connection: Connection, record: JobRecord) -> None:
    text = record.to_json()
    put_document(connection, PREFIX + record.id, "" if record.is_over else text)
    put_document(connection, OVER_PREFIX + record.id, text if record.is_over else "")


def _tell(connection: Connection, record: JobRecord) -> None:
    reason = f": {record.reason}" if record.reason else ""
    message = f"job {record.id} is {record.state}{reason}"
    data = {"job": record.id, "author": record.actor, "progress": dict(record.progress)}
    note = Note(record.job.revision, f"job_{record.state}", message, data)
    event_log.append(connection, record.job.graph, note)


def _check(record: JobRecord, others: list[JobRecord]) -> None:
    if len(others) >= MOST_OPEN:
        raise Unavailable(f"{len(others)} jobs wait or run, and no more are taken; cancel some", 60)
    place = without_account(record.job.output)
    for one in others:
        if without_account(one.job.output) == place:
            output = redacted(one.job.output.rstrip("/"))
            raise Conflict(
                f"job {one.id} writes to {output!r} already: wait until it is over, cancel it, or "
                "name another output"
            )
