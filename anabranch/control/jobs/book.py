"""The jobs in the store: a document for each, of which the newest that are over are kept."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.control.jobs.record import JobRecord
from anabranch.control.store.database import Database
from anabranch.control.store.documents import document, documents_of, put_document
from anabranch.errors import NotFound

PREFIX = "job/"
MOST_OVER = 1000
"""Jobs that are over and on record."""


class JobBook:
    """Reads and writes records of jobs; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[JobRecord]:
        """Return all jobs, the newest first."""
        with self._database.read() as connection:
            found = [JobRecord.from_json(text) for text in documents_of(connection, PREFIX)]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def get(self, id: str) -> JobRecord:
        """Return a job; NotFound without one of that id."""
        with self._database.read() as connection:
            found = document(connection, PREFIX + id)
        if found is None:
            raise NotFound(f"there is no job {id!r}; `anabranch jobs` lists those that there are")
        return JobRecord.from_json(found.text)

    def add(self, record: JobRecord) -> None:
        """Keep a new job, and forget the oldest that are over beyond ``MOST_OVER``."""
        old = [one for one in self.all() if one.is_over][MOST_OVER:]
        with self._database.write() as connection:
            for one in old:
                put_document(connection, PREFIX + one.id, "")
            put_document(connection, PREFIX + record.id, record.to_json())

    def change(self, id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Change a job that is not over, and return it; one that is over stays as it is."""
        with self._database.write() as connection:
            found = document(connection, PREFIX + id)
            if found is None:
                raise NotFound(f"there is no job {id!r}")
            before = JobRecord.from_json(found.text)
            after = before if before.is_over else change(before)
            if after != before:
                put_document(connection, PREFIX + id, after.to_json())
        return after
