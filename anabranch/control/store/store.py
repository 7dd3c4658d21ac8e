"""The store: what should run. Graphs, their immutable revisions, traffic, and an event log.

SQLite in the engine's home by default, PostgreSQL by its URL. Every method is one transaction.
What may happen to a graph is decided in ``lifecycle``; the store applies it to what it holds,
alone with the graph's row, so that two writers never decide on the same situation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Intent, Member, Note, Situation
from anabranch.control.store import event_log, situations
from anabranch.control.store.chain import Verification
from anabranch.control.store.database import Database
from anabranch.control.store.event_log import ALL, EventFilter
from anabranch.control.store.outbox import Outbox
from anabranch.control.store.records import (
    Event,
    Revision,
    RevisionInfo,
    Stored,
    info_of,
    revision_of,
    write_text,
)
from anabranch.control.store.schema import events, experiments, graphs, revisions

__all__ = ["Event", "Revision", "RevisionInfo", "Store", "Stored"]

Check: TypeAlias = Callable[[Situation, Situation], None]
"""Raises where a graph may not get from one situation to another."""
_OVER = ("retired", "failed")
"""States of revisions that do not run."""
_REPLACE = Intent()
_INFO = [column for column in revisions.c if column.name != "spec"]


class Store:
    """Desired state, kept in a database. Safe to use from several threads and processes.

    Methods raise Unavailable where the database does not answer, and those that write LeaseLost
    once the store is fenced and the lease is another's.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, create what is missing, migrate what is old; EngineError says what is wrong."""
        return cls(Database.open(url))

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def fence(self, holder: str) -> None:
        """From now on, change something only while ``holder`` has the lease."""
        self.database.fence(holder)

    def revisions(self, name: str, limit: int | None = None) -> list[RevisionInfo]:
        """Revisions of a graph, newest first, at most ``limit``."""
        query = sa.select(*_INFO).where(revisions.c.graph == name)
        newest = query.order_by(revisions.c.number.desc()).limit(limit)
        with self.database.read() as connection:
            return [info_of(row) for row in connection.execute(newest).mappings()]

    def revision(self, name: str, number: int) -> Revision:
        """One revision with its spec; NotFound names the ones there are."""
        with self.database.read() as connection:
            return _revision(connection, name, number)

    def digests(self, running: bool = False) -> set[str]:
        """Digests of the bundles that revisions on record need, of deleted graphs too.

        With ``running``: that those need which run, or are to.
        """
        query = sa.select(revisions.c.digest).distinct()
        if running:
            query = query.where(revisions.c.state.not_in(_OVER))
        with self.database.read() as connection:
            return set(connection.scalars(query))

    def previous(self, name: str) -> int | None:
        """The revision that was the stable one before; None if there was none."""
        query = (
            sa.select(revisions.c.number)
            .join(graphs, graphs.c.name == revisions.c.graph)
            .where(revisions.c.graph == name, revisions.c.live_at.is_not(None))
            .where(revisions.c.number != sa.func.coalesce(graphs.c.live, 0))
            .order_by(revisions.c.live_at.desc(), revisions.c.number.desc())
            .limit(1)
        )
        with self.database.read() as connection:
            return connection.scalar(query)

    def situation(self, name: str) -> Stored:
        """How a graph stands, deleted or not; NotFound lists the others."""
        with self.database.read() as connection:
            return situations.load(connection, name)

    def situations(self) -> list[Stored]:
        """How every graph stands but the deleted ones, by name."""
        with self.database.read() as connection:
            return situations.load_all(connection)

    def events(
        self, wanted: EventFilter | str = ALL, after: int = 0, limit: int = 100
    ) -> list[Event]:
        """Events with an id above ``after``, oldest first, at most ``limit``; of a graph by name,
        or as a filter says.
        """
        with self.database.read() as connection:
            return event_log.after(connection, _filter(wanted), after, limit)

    def newest_events(self, wanted: EventFilter | str, count: int) -> list[Event]:
        """The last ``count`` events, oldest first."""
        with self.database.read() as connection:
            return event_log.newest(connection, _filter(wanted), count)

    def event_graphs(self) -> list[str]:
        """Names of the graphs that there are events of; empty for those of no graph."""
        with self.database.read() as connection:
            return list(connection.scalars(sa.select(events.c.graph).distinct()))

    def verify_events(self, sought: str = "") -> Verification:
        """Follow the hash chain through all events, see ``chain.verify``."""
        with self.database.read() as connection:
            return event_log.verified(connection, sought)

    def ensure_revision(
        self,
        name: str,
        spec: str,
        digest: str,
        author: str = "",
        message: str = "",
        intent: Intent = _REPLACE,
        pins: Mapping[str, str] | None = None,
        force: bool = False,
        check: Check | None = None,
        seen: Mapping[str, str] | None = None,
        cause: Note | None = None,
    ) -> tuple[Revision, bool]:
        """Append a pending revision, unless one of the same content does what it is for.

        The content is the digest and the pins; ``operations.repeated`` says which revisions do.
        With ``force``, append one in any case. The graph comes to be, or comes back, with its
        first. References count as ``seen`` with these pins, all of ``pins`` if left out. Return the
        revision, and whether it is new, which ``cause`` is an event of; raise what
        ``operations.created`` raises where the intent does not fit how things stand, and what
        ``check`` raises.
        """
        record = _record(spec, digest, author, message, pins)
        with self._writing(name, create=True) as (connection, before):
            situations.see(connection, before, seen if seen is not None else pins or {})
            for number in () if force else operations.repeated(before.situation, intent):
                found = _revision(connection, name, number)
                if (found.digest, found.pins) == (digest, dict(pins or {})):
                    return found, False
            return _append(connection, before, record, intent, check, cause), True

    def change(self, name: str, decide: Callable[[Situation], Change]) -> Stored:
        """Write what ``decide`` makes of the situation; return how the graph stands after it.

        NotFound for an unknown graph; whatever ``decide`` raises comes through. Nothing has
        changed then.
        """
        with self._writing(name) as (connection, before):
            return situations.save(connection, before, decide(before.situation))

    def see(self, name: str, seen: Mapping[str, str]) -> None:
        """Note what references to models mean that need no new revision."""
        with self._writing(name) as (connection, before):
            situations.see(connection, before, seen)

    def forget_events(self, before: float, most: int) -> int:
        """Remove the oldest events, see ``event_log.prune``; gives their number."""
        with self.database.write() as connection:
            return event_log.prune(connection, before, most)

    def forget_revisions(self, most: int, before: float = 0.0) -> int:
        """Remove from each graph the oldest revisions that do not run, so that ``most`` of them are
        left, and those last deployed or made the stable one before a Unix time; gives the number of
        those removed. The last one that was stable stays anyway.
        """
        over = revisions.c.state.in_(_OVER)
        used_at = sa.func.coalesce(revisions.c.live_at, revisions.c.created_at)
        few = sa.func.count() <= most
        kept = sa.and_(few, sa.func.min(used_at) >= before)
        many = sa.select(revisions.c.graph).where(over).group_by(revisions.c.graph)
        removed = 0
        with self.database.write() as connection:
            for name in connection.scalars(many.having(sa.not_(kept))).all():
                own = sa.and_(revisions.c.graph == name, over)
                newest_first = sa.select(revisions.c.number).where(own)
                stable = newest_first.where(revisions.c.live_at.is_not(None))
                last = connection.scalar(stable.order_by(revisions.c.live_at.desc()).limit(1))
                ordered = newest_first.order_by(revisions.c.number.desc())
                old = connection.scalars(newest_first.where(used_at < before)).all()
                gone = {*connection.scalars(ordered).all()[most:], *old} - {last}
                connection.execute(revisions.delete().where(own, revisions.c.number.in_(gone)))
                theirs = experiments.c.graph == name, experiments.c.revision.in_(gone)
                connection.execute(experiments.delete().where(*theirs))
                removed += len(gone)
        return removed

    def kept(self) -> dict[str, tuple[int, float | None]]:
        """Return the number of events and of revisions, and the Unix time of the oldest of each."""
        times = {"events": events.c.at, "revisions": revisions.c.created_at}
        with self.database.read() as connection:
            rows = {
                name: connection.execute(sa.select(sa.func.count(), sa.func.min(at))).one()
                for name, at in times.items()
            }
        return {name: (row[0], row[1]) for name, row in rows.items()}

    def log(
        self,
        graph: str,
        revision: int | None,
        kind: str,
        message: str,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append an event by whoever acts in this context."""
        with self.database.write() as connection:
            event_log.append(connection, graph, Note(revision, kind, message, data or {}))

    @contextmanager
    def _writing(self, name: str, create: bool = False) -> Iterator[tuple[Connection, Stored]]:
        """A transaction that holds the graph's row, created first where it is missing."""
        with self.database.write() as connection:
            if create:
                _create_graph(connection, name)
            yield connection, situations.load(connection, name, hold=True)


def _filter(wanted: EventFilter | str) -> EventFilter:
    return EventFilter(graph=wanted) if isinstance(wanted, str) else wanted


def _create_graph(connection: Connection, name: str) -> None:
    if connection.scalar(sa.select(graphs.c.name).where(graphs.c.name == name)) is not None:
        return
    values = {"name": name, "state": "present", "live": None, "created_at": time.time()}
    try:
        with connection.begin_nested():
            connection.execute(graphs.insert().values(**values))
    except sa.exc.IntegrityError:
        pass  # another writer was first


def _record(
    spec: str, digest: str, author: str, message: str, pins: Mapping[str, str] | None
) -> dict[str, str]:
    """Columns of a revision that never change."""
    return {
        "spec": spec,
        "digest": digest,
        "author": write_text(author),
        "message": write_text(message),
        "pins": json.dumps(dict(pins or {})),
    }


def _append(
    connection: Connection,
    before: Stored,
    record: dict[str, str],
    intent: Intent,
    check: Check | None,
    cause: Note | None,
) -> Revision:
    name = before.situation.graph
    number = situations.last_number(connection, name) + 1
    change = operations.created(before.situation, number, intent, record["digest"])
    if check is not None:
        check(before.situation, change.situation)
    _insert(connection, name, change.situation.members[number], record)
    causes = () if cause is None else (replace(cause, revision=number),)
    situations.save(connection, before, replace(change, notes=(*causes, *change.notes)))
    return _revision(connection, name, number)


def _insert(connection: Connection, name: str, member: Member, record: dict[str, str]) -> None:
    connection.execute(
        revisions.insert().values(
            graph=name,
            number=member.number,
            created_at=time.time(),
            **record,
            **situations.member_values(member),
        )
    )


def _revision(connection: Connection, name: str, number: int) -> Revision:
    query = sa.select(revisions).where(revisions.c.graph == name, revisions.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise situations.unknown_revision(connection, name, number)
    return revision_of(row)
