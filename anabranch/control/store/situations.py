"""Situations in the tables: read whole, written back as what an operation changed.

The functions work inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from anabranch.control.lifecycle.changes import changed
from anabranch.control.lifecycle.operations import COMING, UP, Change, Member, Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.store import event_log
from anabranch.control.store.records import (
    Stored,
    member_of,
    read_shares,
    write_shares,
    write_text,
)
from anabranch.control.store.schema import graphs, revisions
from anabranch.errors import NotFound

_RUNNING = revisions.c.state.in_(sorted(UP | COMING))
_MEMBER = [
    revisions.c[name]
    for name in ("graph", "number", "state", "reason", "intent", "expires_at", "live_at")
]


def load(connection: Connection, name: str, hold: bool = False) -> Stored:
    """The situation of one graph, deleted or not; ``hold`` keeps other writers out of it.

    NotFound lists the graphs there are.
    """
    query = sa.select(graphs).where(graphs.c.name == name)
    row = connection.execute(query.with_for_update() if hold else query).mappings().first()
    if row is None:
        raise unknown_graph(connection, name)
    # Only now: on PostgreSQL a statement sees what was there when it began.
    members = sa.select(*_MEMBER).where(revisions.c.graph == name, _RUNNING)
    return _stored(row, connection.execute(members).mappings().all())


def load_all(connection: Connection) -> list[Stored]:
    """The situation of every graph but the deleted ones, by name."""
    members: dict[str, list[RowMapping]] = {}
    for row in connection.execute(sa.select(*_MEMBER).where(_RUNNING)).mappings():
        members.setdefault(row["graph"], []).append(row)
    query = sa.select(graphs).where(graphs.c.state != "deleted").order_by(graphs.c.name)
    return [
        _stored(row, members.get(row["name"], []))
        for row in connection.execute(query).mappings().all()
    ]


def save(connection: Connection, before: Stored, change: Change) -> Stored:
    """Write what a change made different, log its notes, and fill the outbox."""
    after, generation = change.situation, before.generation
    if after != before.situation:
        generation += 1
        _save_graph(connection, after, generation)
        _save_members(connection, before.situation, after)
    difference = changed(before.situation, after)
    for note in change.notes:
        event_log.append(connection, after.graph, note, difference)
    running = {n: one for n, one in after.members.items() if one.state in UP | COMING}
    return replace(before, situation=replace(after, members=running), generation=generation)


def see(connection: Connection, before: Stored, seen: Mapping[str, str]) -> None:
    """Note what references to models meant that are acted on, in the graph that is held."""
    if not seen.items() <= before.seen.items():
        update = graphs.update().where(graphs.c.name == before.situation.graph)
        connection.execute(update.values(seen=json.dumps({**before.seen, **seen})))


def unknown_graph(connection: Connection, name: str) -> NotFound:
    """The error for a name that no graph has."""
    known = connection.scalars(
        sa.select(graphs.c.name).where(graphs.c.state != "deleted").order_by(graphs.c.name)
    )
    return NotFound(f"no graph {name!r}; there are: {', '.join(known.fetchmany(20)) or 'none'}")


def unknown_revision(connection: Connection, name: str, number: int) -> NotFound:
    """The error for a number that no revision of a graph has, or for a name that no graph has."""
    last = last_number(connection, name)
    if not last:
        return unknown_graph(connection, name)
    return NotFound(f"graph {name!r} has no revision {number}; it has 1 to {last}")


def last_number(connection: Connection, name: str) -> int:
    """The newest revision's number; 0 if there is none."""
    query = sa.select(sa.func.max(revisions.c.number)).where(revisions.c.graph == name)
    return connection.scalar(query) or 0


def member_values(member: Member) -> dict[str, Any]:
    """Columns of a revision that the lifecycle may change.

    When it was last live stays known, also where an operation knows nothing of it.
    """
    values = {
        "state": member.state,
        "reason": write_text(member.reason),
        "intent": json.dumps(member.intent.to_json()),
        "expires_at": member.expires_at,
    }
    return values if member.live_at is None else values | {"live_at": member.live_at}


def _stored(row: RowMapping, members: Sequence[RowMapping]) -> Stored:
    rollout = row["rollout"]
    situation = Situation(
        row["name"],
        row["state"],
        row["live"],
        {member["number"]: member_of(member) for member in members},
        read_shares(row["weights"]),
        read_shares(row["mirrors"]),
        None if rollout is None else RolloutState.from_json(json.loads(rollout)),
    )
    seen = json.loads(row["seen"] or "{}")
    return Stored(situation, row["generation"], row["created_at"], seen)


def _save_graph(connection: Connection, after: Situation, generation: int) -> None:
    connection.execute(
        graphs.update()
        .where(graphs.c.name == after.graph)
        .values(
            state=after.state,
            live=after.stable,
            generation=generation,
            weights=write_shares(after.weights),
            mirrors=write_shares(after.mirrors),
            rollout=None if after.rollout is None else json.dumps(after.rollout.to_json()),
        )
    )


def _save_members(connection: Connection, before: Situation, after: Situation) -> None:
    for number, member in after.members.items():
        if member == before.members.get(number):
            continue
        update = (
            revisions.update()
            .where(revisions.c.graph == after.graph, revisions.c.number == number)
            .values(**member_values(member))
        )
        if connection.execute(update).rowcount != 1:
            raise unknown_revision(connection, after.graph, number)
