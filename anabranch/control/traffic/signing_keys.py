"""Keys with which routers sign the routing of replies: made here, kept in the store, rotated daily.

A new key comes into use one rotation after it was made, when every router has it. A key that no
router signs with is kept for as long as its signatures are good.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.database import Database
from anabranch.control.store.schema import graphs, signing_keys
from anabranch.router.signing import MAX_AGE_S, SigningKey

ROTATION_S = 86_400.0
"""Time between two keys, in seconds."""


class SigningKeys:
    """The keys of one engine; ``clock`` gives Unix time."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.current: tuple[SigningKey, ...] = ()
        """The newest first; none before they were renewed once."""

    def renew(self) -> None:
        """Make a key where it is time, and drop those of no use.

        Where one is new, all graphs have another generation, so that their tables go out again.
        Raises Unavailable as the database does.
        """
        with self._database.write() as connection:
            found = _read(connection)
            after = rotated(found, self._clock())
            if after != found:
                _save(connection, found, after)
            # Before others can see the generations: their tables must have the new key.
            self.current = after


def rotated(keys: Sequence[SigningKey], now: float) -> tuple[SigningKey, ...]:
    """Return the keys that an engine should have, the newest first; at least two."""
    kept = tuple(keys)
    # A clock that was far ahead must not stop the rotation.
    if not kept or abs(now - kept[0].created_at) >= ROTATION_S:
        kept = (_made(now), *kept)
    if len(kept) == 1:
        kept = (_made(now), *kept)
    # A key signs until the second one after it is made.
    return kept[:2] + tuple(
        key
        for key, second in zip(kept[2:], kept, strict=False)
        if now - second.created_at <= MAX_AGE_S
    )


def _made(now: float) -> SigningKey:
    return SigningKey(secrets.token_hex(4), secrets.token_bytes(32), now)


def _read(connection: Connection) -> tuple[SigningKey, ...]:
    query = sa.select(signing_keys).order_by(signing_keys.c.number.desc())
    return tuple(
        SigningKey(row.id, bytes.fromhex(row.secret), row.created_at)
        for row in connection.execute(query)
    )


def _save(
    connection: Connection, before: Sequence[SigningKey], after: Sequence[SigningKey]
) -> None:
    known, kept = {key.id for key in before}, {key.id for key in after}
    rows = [
        {"id": key.id, "secret": key.secret.hex(), "created_at": key.created_at}
        for key in reversed(after)
        if key.id not in known
    ]
    if rows:
        connection.execute(signing_keys.insert(), rows)
        connection.execute(graphs.update().values(generation=graphs.c.generation + 1))
    if gone := known - kept:
        connection.execute(signing_keys.delete().where(signing_keys.c.id.in_(gone)))
