"""The log of events in its table: its hash chain, filters and pruning.

The functions work inside the caller's transaction. Whoever appends or prunes holds the row of the
chain until the transaction ends, so that ids and hashes follow one another on every database.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.access.actor import ACTOR
from anabranch.control.lifecycle.operations import Note
from anabranch.control.store import outbox
from anabranch.control.store.chain import Chain, Verification, link, verify
from anabranch.control.store.records import Event, event_of, write_data, write_text
from anabranch.control.store.schema import event_chain, events
from anabranch.control.store.schema import outbox as calls

_MAX_ORIGIN = 256
"""Longest name of an actor, address or request id, in characters."""
_ESCAPE = "\\"


@dataclass(frozen=True)
class EventFilter:
    """The events that are asked for; None asks for all. ``*`` in a text stands for any characters.

    ``since`` and ``until`` are Unix times, of which the first belongs to what is found.
    """

    graph: str | None = None
    kind: str | None = None
    actor: str | None = None
    """A kind of actors such as ``engine``, a name, or both as in ``key:ci``."""
    since: float | None = None
    until: float | None = None
    revision: int | None = None
    among: tuple[str, ...] | None = None
    """Graphs of which any events may be found at all."""


ALL = EventFilter()


def append(
    connection: Connection, graph: str, note: Note, change: Mapping[str, Any] | None = None
) -> None:
    """Append an event by whoever acts in this context, and call whoever wants to hear of it.

    ``change`` is what ``lifecycle.changes.changed`` gives.
    """
    chain = _chain(connection, hold=True)
    actor, at = ACTOR.get(), time.time()
    event = {
        "id": chain.last_id + 1,
        "at": at,
        "graph": graph,
        "revision": note.revision,
        "kind": note.kind,
        "message": write_text(note.message),
        "data": write_data(note.data),
        "change": write_data(change or {}),
        "actor_kind": actor.kind,
        "actor": write_text(actor.name, _MAX_ORIGIN),
        "address": write_text(actor.address, _MAX_ORIGIN),
        "request_id": write_text(actor.request_id, _MAX_ORIGIN),
    }
    event["hash"] = link(chain.last, event)
    connection.execute(events.insert().values(event))
    connection.execute(event_chain.update().values(last_id=event["id"], last=event["hash"]))
    outbox.put(connection, chain.last_id + 1, note.notify, at)


def after(connection: Connection, wanted: EventFilter, last: int, limit: int) -> list[Event]:
    """Return the events with an id above ``last``, oldest first, at most ``limit``."""
    query = _query(wanted).where(events.c.id > last).order_by(events.c.id).limit(limit)
    return [event_of(row) for row in connection.execute(query).mappings()]


def newest(connection: Connection, wanted: EventFilter, count: int) -> list[Event]:
    """Return the last ``count`` events, oldest first."""
    query = _query(wanted).order_by(events.c.id.desc()).limit(count)
    return [event_of(row) for row in connection.execute(query).mappings()][::-1]


def prune(connection: Connection, before: float, most: int) -> int:
    """Remove the oldest events: those from before a Unix time, and those beyond ``most``.

    Return their number. Neither an event that a webhook has still to hear of goes, nor any after
    it. The chain keeps the hash of the newest one that went as its anchor.
    """
    chain = _chain(connection, hold=True)
    by_id = sa.select(events.c.id).order_by(events.c.id.desc())
    beyond = connection.scalar(by_id.offset(most).limit(1)) or 0
    young = connection.scalar(sa.select(sa.func.min(events.c.id)).where(events.c.at >= before))
    old = chain.last_id if young is None else young - 1
    untold = connection.scalar(sa.select(sa.func.min(calls.c.event_id)))
    end = max(beyond, old) if untold is None else min(max(beyond, old), untold - 1)
    last = sa.select(events.c.id, events.c.hash).where(events.c.id <= end)
    row = connection.execute(last.order_by(events.c.id.desc()).limit(1)).first()
    if row is None:
        return 0
    connection.execute(event_chain.update().values(anchor_id=row.id, anchor=row.hash))
    return connection.execute(events.delete().where(events.c.id <= row.id)).rowcount


def verified(connection: Connection, sought: str = "") -> Verification:
    """Follow the chain through all events, as of one moment; see ``chain.verify``."""
    chain = _chain(connection)
    query = sa.select(events).order_by(events.c.id)
    with connection.execute(query, execution_options={"yield_per": 1000}) as rows:
        return verify(chain, rows.mappings(), sought)


def _chain(connection: Connection, hold: bool = False) -> Chain:
    """The ends of the chain; ``hold`` keeps other writers from moving them before this ends."""
    query = sa.select(*[one for one in event_chain.c if one.name != "id"])
    rows = connection.execute(query.with_for_update() if hold else query).mappings()
    return Chain(**rows.one())


def _query(wanted: EventFilter) -> sa.Select[Any]:
    query = sa.select(events)
    if wanted.graph is not None:
        query = query.where(_like(events.c.graph, wanted.graph))
    if wanted.kind is not None:
        query = query.where(_like(events.c.kind, wanted.kind))
    if wanted.actor is not None:
        query = query.where(_by(wanted.actor))
    if wanted.since is not None:
        query = query.where(events.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(events.c.at < wanted.until)
    if wanted.among is not None:
        query = query.where(events.c.graph.in_(wanted.among))
    if wanted.revision is not None:
        query = query.where(events.c.revision == wanted.revision)
    return query


def _by(actor: str) -> sa.ColumnElement[bool]:
    kind, colon, name = actor.partition(":")
    if colon:
        return sa.and_(events.c.actor_kind == kind, _like(events.c.actor, name))
    return sa.or_(events.c.actor_kind == actor, _like(events.c.actor, actor))


def _like(column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
    """Whether a text matches a pattern with ``*``; by an index where there is none in it."""
    if "*" not in pattern:
        return column == pattern
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return column.like(pattern.replace("*", "%"), escape=_ESCAPE)
