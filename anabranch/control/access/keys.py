"""API keys in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from anabranch.access.actor import ACTOR
from anabranch.access.keys import ApiKey, digest_of, make_key
from anabranch.access.roles import Grant
from anabranch.control.lifecycle.operations import Note
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.schema import api_keys
from anabranch.errors import Conflict, NotFound

MAX_KEYS = 10_000
"""Keys that there may be at a time."""
_PLAIN = ("name", "digest", "created_at", "expires_at", "author")


class KeyStore:
    """The keys of one store; ``clock`` gives Unix time. Keys that have expired are forgotten."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> list[ApiKey]:
        """Return the keys that count, in the order in which they were made."""
        query = sa.select(api_keys).where(_counts(self._clock())).order_by(api_keys.c.id)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def of(self, name: str) -> list[ApiKey]:
        """Return the keys of a name, the newest last; NotFound without any."""
        found = [key for key in self.all() if key.name == name]
        if not found:
            raise _unknown(name)
        return found

    def add(self, name: str, grants: Sequence[Grant], seconds: float | None) -> tuple[ApiKey, str]:
        """Make a key that counts for so many seconds; the key itself is returned this once.

        Conflict where there is a key of that name, or no room for another.
        """
        with self._database.write() as connection:
            self._forget(connection)
            if connection.scalar(sa.select(api_keys.c.id).where(api_keys.c.name == name)):
                raise Conflict(
                    f"there is a key {name!r}; rotate it, or revoke it first: `anabranch keys`"
                )
            made = self._insert(connection, name, grants, seconds)
            _log(connection, "key_created", f"key {name!r} was made", made[0])
        return made

    def rotate(self, name: str, overlap: float) -> tuple[ApiKey, str]:
        """Make another key of a name; those before count for ``overlap`` seconds more, at most.

        NotFound without a key of that name, Conflict where there is no room for another.
        """
        now = self._clock()
        with self._database.write() as connection:
            self._forget(connection)
            old = _newest(connection, name)
            ends = sa.func.coalesce(api_keys.c.expires_at, now + overlap)
            sooner = sa.case((ends < now + overlap, ends), else_=now + overlap)
            earlier = api_keys.update().where(api_keys.c.name == name)
            connection.execute(earlier.values(expires_at=sooner))
            seconds = None if old.expires_at is None else old.expires_at - old.created_at
            made = self._insert(connection, name, old.grants, seconds)
            text = f"key {name!r} was rotated; the one before counts for {overlap:g}s more"
            _log(connection, "key_rotated", text, made[0])
        return made

    def revoke(self, name: str) -> None:
        """Forget all keys of a name; NotFound without any."""
        with self._database.write() as connection:
            gone = _newest(connection, name)
            connection.execute(api_keys.delete().where(api_keys.c.name == name))
            _log(connection, "key_revoked", f"key {name!r} was revoked", gone)

    def _forget(self, connection: Connection) -> None:
        connection.execute(api_keys.delete().where(sa.not_(_counts(self._clock()))))

    def _insert(
        self, connection: Connection, name: str, grants: Sequence[Grant], seconds: float | None
    ) -> tuple[ApiKey, str]:
        count = connection.scalar(sa.select(sa.func.count()).select_from(api_keys))
        if (count or 0) >= MAX_KEYS:
            raise Conflict(f"there are {MAX_KEYS} keys already; revoke one")
        now, text = self._clock(), make_key()
        ends = None if seconds is None else now + seconds
        made = ApiKey(0, name, digest_of(text), tuple(grants), now, ends, str(ACTOR.get()))
        written = json.dumps([[one.role, one.graphs] for one in grants])
        values = {field: getattr(made, field) for field in _PLAIN} | {"grants": written}
        result = connection.execute(api_keys.insert().values(**values))
        assert result.inserted_primary_key is not None
        return replace(made, id=result.inserted_primary_key[0]), text


def _counts(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)


def _newest(connection: Connection, name: str) -> ApiKey:
    """Return the newest key of a name; NotFound without any."""
    query = sa.select(api_keys).where(api_keys.c.name == name).order_by(api_keys.c.id.desc())
    row = connection.execute(query.limit(1)).mappings().one_or_none()
    if row is None:
        raise _unknown(name)
    return _key(row)


def _key(row: RowMapping) -> ApiKey:
    grants = tuple(Grant(role, graphs) for role, graphs in json.loads(row["grants"]))
    return ApiKey(**{**row, "grants": grants})


def _log(connection: Connection, kind: str, text: str, key: ApiKey) -> None:
    grants = [{"role": one.role, "graphs": one.graphs} for one in key.grants]
    data = {"key": key.name, "grants": grants, "expires_at": key.expires_at}
    event_log.append(connection, "", Note(None, kind, text, data))


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no key {name!r}; `anabranch keys` lists those that there are")
