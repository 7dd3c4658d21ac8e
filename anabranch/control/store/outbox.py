"""Calls to webhooks that are still to be made.

A call is written in the transaction of the change that it tells of, so none is lost and none tells
of what did not happen. One that was made just before a crash is made again: receivers know it by
the event's id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from anabranch.control.store.database import Database
from anabranch.control.store.records import Event, event_of
from anabranch.control.store.schema import events, outbox

LONGEST_PAUSE = 60.0
"""Seconds beyond any pause between two attempts."""


@dataclass(frozen=True)
class Delivery:
    """One call to make; ``attempts`` counts those that failed."""

    id: int
    event: Event
    url: str
    attempts: int


class Outbox:
    """The calls of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: float, limit: int = 100, but: Collection[str] = ()) -> list[Delivery]:
        """Calls whose time has come at Unix time ``now``, the longest due first; none to the URLs
        in ``but``.

        Only the oldest call to a URL is ever due, so that each hears of the events in their order.
        A call that is due beyond any pause was put off when the clock was ahead, and is due now.
        """
        soon = sa.or_(outbox.c.due_at <= now, outbox.c.due_at > now + LONGEST_PAUSE)
        oldest = sa.select(sa.func.min(outbox.c.id)).group_by(outbox.c.url)
        query = (
            sa.select(outbox.c.id.label("delivery"), outbox.c.url, outbox.c.attempts, events)
            .join(events, events.c.id == outbox.c.event_id)
            .where(outbox.c.id.in_(oldest), soon)
            .where(outbox.c.url.not_in(tuple(but)))
            .order_by(outbox.c.due_at, outbox.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query).mappings()]

    def is_empty(self) -> bool:
        """Return whether there are no calls at all, due or not."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(outbox.c.id).limit(1)) is None

    def strike(self, id: int) -> None:
        """Strike a call that was answered, or will not be tried again."""
        with self._database.write() as connection:
            connection.execute(outbox.delete().where(outbox.c.id == id))

    def postponed(self, id: int, due_at: float) -> None:
        """Try a call again at Unix time ``due_at``."""
        with self._database.write() as connection:
            connection.execute(
                outbox.update()
                .where(outbox.c.id == id)
                .values(due_at=due_at, attempts=outbox.c.attempts + 1)
            )


def put(connection: Connection, event_id: int, urls: Iterable[str], at: float) -> None:
    """Note the calls about an event, due at once."""
    for url in urls:
        connection.execute(
            outbox.insert().values(event_id=event_id, url=url, due_at=at, attempts=0)
        )


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(row["delivery"], event_of(row), row["url"], row["attempts"])
