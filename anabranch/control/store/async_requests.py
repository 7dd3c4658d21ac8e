"""Asynchronous requests in the store, and their replies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.lifecycle.operations import Note
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.schema import async_requests as table
from anabranch.router.later import AsyncPhase, AsyncRequest, AsyncState, Pairs

_OVER = ("done", "cancelled", "lost")
EVENT = "request_over"
"""Kind of the event by which a webhook hears of a request."""


@dataclass(frozen=True)
class DueRequest:
    """A request whose turn it is; ``attempts`` counts those before this one."""

    id: str
    graph: str
    request: AsyncRequest
    attempts: int


@dataclass(frozen=True)
class KeptReply:
    """The reply to an asynchronous request."""

    status: int
    headers: Pairs
    body: bytes


class AsyncRequests:
    """The asynchronous requests of one store. Each method is a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, graph: str, request: AsyncRequest) -> AsyncState:
        """Keep a request, which is due at once."""
        id, now = os.urandom(16).hex(), time.time()
        values = {
            "id": id, "graph": graph, "path": request.path,
            "headers": json.dumps(request.headers), "body": request.body, "owner": request.owner,
            "idempotent": int(request.idempotent), "webhook": request.webhook,
            "phase": "waiting", "created_at": now, "due_at": now, "attempts": 0,
        }  # fmt: skip
        with self._database.write() as connection:
            connection.execute(table.insert().values(values))
        return AsyncState(id, "waiting")

    def kept(self) -> tuple[int, int]:
        """Return how many requests are not over, and the bytes of all bodies and replies.

        This reads all requests, as many as there are.
        """
        waits = sa.func.sum(sa.case((table.c.phase.in_(_OVER), 0), else_=1))
        sizes = sa.func.length(table.c.body) + sa.func.coalesce(sa.func.length(table.c.answer), 0)
        with self._database.read() as connection:
            row = connection.execute(sa.select(waits, sa.func.sum(sizes))).one()
        return int(row[0] or 0), int(row[1] or 0)

    def open(self) -> dict[tuple[str, str], int]:
        """Return how many requests wait and run, by graph and phase."""
        query = (
            sa.select(table.c.graph, table.c.phase, sa.func.count())
            .where(table.c.phase.in_(("waiting", "running")))
            .group_by(table.c.graph, table.c.phase)
        )
        with self._database.read() as connection:
            return {(graph, phase): count for graph, phase, count in connection.execute(query)}

    def find(self, graph: str, id: str, owner: str | None) -> AsyncState | None:
        """Return a request of an owner, of anybody where that is None; None if there is none."""
        told = ("id", "phase", "status", "answer_headers", "answer")  # the body may be large
        query = sa.select(*(table.c[name] for name in told)).where(_of(graph, id, owner))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        headers = tuple((str(name), str(value)) for name, value in json.loads(row.answer_headers))
        return AsyncState(row.id, row.phase, row.status, headers, row.answer or b"")

    def due(self, now: float, most: int, but: Collection[str]) -> list[DueRequest]:
        """Mark requests as running whose time has come, and return them, the oldest first."""
        query = (
            sa.select(table)
            .where(table.c.phase == "waiting", table.c.due_at <= now)
            .where(table.c.graph.not_in(tuple(but)))
            .order_by(table.c.created_at)
            .limit(most)
        )
        with self._database.write() as connection:
            rows = list(connection.execute(query))
            ids = [row.id for row in rows]
            if ids:
                running = table.update().where(table.c.id.in_(ids))
                connection.execute(running.values(phase="running"))
        return [_due(row) for row in rows]

    def has_waiting(self) -> bool:
        """Return whether any request waits, due or not."""
        query = sa.select(table.c.id).where(table.c.phase == "waiting").limit(1)
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    def postpone(self, id: str, due_at: float) -> None:
        """Have a running request wait for another attempt, at a Unix time."""
        values = {"phase": "waiting", "due_at": due_at, "attempts": table.c.attempts + 1}
        with self._database.write() as connection:
            connection.execute(_running(id).values(values))

    def finish(self, id: str, reply: KeptReply) -> bool:
        """Keep the reply of a running request, and return True; False if it was cancelled."""
        return self._end(
            id, "done", reply.status,
            answer_headers=json.dumps(reply.headers), answer=reply.body,
        )  # fmt: skip

    def lose(self, id: str) -> bool:
        """Note that nobody knows how the evaluation of a running request ended; as ``finish``."""
        return self._end(id, "lost")

    def withdraw(self, graph: str, id: str, owner: str | None) -> tuple[AsyncState | None, bool]:
        """Cancel a request that is not over, or forget one that is; None if there is none.

        Return also whether this has cancelled it.
        """
        with self._database.write() as connection:
            row = connection.execute(sa.select(table).where(_of(graph, id, owner))).first()
            if row is None:
                return None, False
            if row.phase in _OVER:
                connection.execute(table.delete().where(table.c.id == id))
                return AsyncState(id, row.phase), False
            values = {"phase": "cancelled", "ended_at": time.time(), "body": b""}
            connection.execute(table.update().where(table.c.id == id).values(values))
            _tell(connection, row, "cancelled", 0)
        return AsyncState(id, "cancelled"), True

    def recover(self) -> list[str]:
        """Go on with requests that were running when whoever ran them ended.

        Those that may be evaluated again wait once more; all others are lost, and their graphs are
        returned.
        """
        running = sa.select(table).where(table.c.phase == "running")
        with self._database.read() as connection:
            rows = list(connection.execute(running))
        for row in rows:
            if row.idempotent:
                self.postpone(row.id, time.time())
        return [row.graph for row in rows if not row.idempotent and self.lose(row.id)]

    def forget(self, before: float) -> int:
        """Remove requests that were over before a Unix time; return their number."""
        old = table.delete().where(table.c.phase.in_(_OVER), table.c.ended_at < before)
        with self._database.write() as connection:
            return int(connection.execute(old).rowcount)

    def _end(self, id: str, phase: AsyncPhase, status: int = 0, **values: Any) -> bool:
        ended = {"phase": phase, "status": status, "ended_at": time.time(), "body": b"", **values}
        with self._database.write() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == id)).first()
            was_running = bool(connection.execute(_running(id).values(ended)).rowcount)
            if was_running:
                _tell(connection, row, phase, status)
        return was_running


def _of(graph: str, id: str, owner: str | None) -> sa.ColumnElement[bool]:
    found = (table.c.id == id) & (table.c.graph == graph)
    return found if owner is None else found & (table.c.owner == owner)


def _running(id: str) -> sa.Update:
    return table.update().where(table.c.id == id, table.c.phase == "running")


def _due(row: Any) -> DueRequest:
    headers = tuple((str(name), str(value)) for name, value in json.loads(row.headers))
    request = AsyncRequest(
        row.path, headers, row.body, row.owner, bool(row.idempotent), row.webhook
    )
    return DueRequest(row.id, row.graph, request, row.attempts)


def _tell(connection: Connection, row: Any, phase: AsyncPhase, status: int) -> None:
    """Have the webhook of a request called, in the transaction that ends it."""
    if not row.webhook:
        return
    place = f"/v2/models/{row.graph}/requests/{row.id}"
    data = {"id": row.id, "state": phase, "status": status, "location": place}
    message = f"asynchronous request {row.id} is {phase}"
    event_log.append(connection, row.graph, Note(None, EVENT, message, data, (row.webhook,)))
