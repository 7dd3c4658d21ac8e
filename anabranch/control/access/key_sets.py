"""Keeps the signing keys of the issuers of JWTs in an access policy new.

An issuer is asked again when its keys are old, and when a token names a key that is not known, then
at most once a second. Where it does not answer, its last keys count, which the store remembers
for controllers to come.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from anabranch.access.issuers import Issuer, IssuerKey
from anabranch.control.access.issuers import TrustedIssuer
from anabranch.control.access.jwks import fetch_jwks, read_jwks
from anabranch.control.lifecycle.operations import Note
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.documents import document, keep_documents, put_document
from anabranch.control.tasks import WokenLoop
from anabranch.errors import Unavailable

EVERY_S = 1.0
"""Shortest time between the begins of two looks at one issuer's keys."""
RETRY_S = 10.0
"""Time before another look after one that failed."""
_REST_S = 3600.0
_NAME = "jwks "
"""Begin of the names of documents in the store that hold keys."""

logger = logging.getLogger("anabranch.control")


@dataclass(eq=False)
class _KeySet:
    """The keys of an issuer, and what is known of them; times of looks are the clock's."""

    trusted: TrustedIssuer
    keys: tuple[IssuerKey, ...] = ()
    read_at: float | None = None
    """When they were read, as a Unix time."""
    problem: str = ""
    """Why the last look failed, if it did."""
    due: float = -inf
    looked_at: float = -inf
    """When the last look began."""
    looking: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The name of the document in the store; another place of the keys has another one."""
        place = f"{self.trusted.issuer} {self.trusted.jwks or ''}"
        return _NAME + hashlib.sha256(place.encode()).hexdigest()[:40]

    def has(self, kid: str) -> bool:
        """Return whether a key is known, and has a name."""
        return kid != "" and any(key.kid == kid for key in self.keys)


class KeySets(WokenLoop[str]):
    """The keys of all issuers; ``publish`` puts them in force.

    Apart from ``issuers``, for one event loop.
    """

    def __init__(self, database: Database, publish: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._database = database
        self._publish = publish
        self._caller = Caller()
        self._clock = time.monotonic
        self._sets: Mapping[str, _KeySet] = {}
        """By the names of documents."""

    def issuers(self, trusted: Iterable[TrustedIssuer]) -> tuple[Issuer, ...]:
        """Return the issuers of a policy with their keys, and forget all others."""
        sets = [self._set_of(one) for one in trusted]
        self._sets = {one.name: one for one in sets}
        return tuple(one.trusted.with_keys(one.keys) for one in sets)

    async def _close(self) -> None:
        await self._caller.close()

    async def _round(self) -> float:
        await self.look()
        due = min((one.due for one in self._sets.values()), default=inf)
        return min(max(due - self._clock(), 0.0), _REST_S)

    async def look(self) -> None:
        """Look at the keys that are due."""
        now = self._clock()
        due = [one for one in self._sets.values() if one.due <= now]
        await asyncio.gather(*(self._looked(one) for one in due))

    async def renew(self, issuer: str, kid: str) -> None:
        """Return once a key of an issuer is known, or a look that began after now has ended."""
        asked = self._clock()
        for one in self._sets.values():
            if one.trusted.issuer == issuer:
                while not one.has(kid) and one.looked_at < asked:
                    await self._looked(one)

    def view(self) -> list[dict[str, Any]]:
        """Return the issuers with the names of their keys, for people."""
        return [
            {
                "issuer": one.trusted.issuer,
                "keys": [key.kid for key in one.keys],
                "read_at": one.read_at,
                "problem": one.problem,
            }
            for one in self._sets.values()
        ]

    async def _looked(self, one: _KeySet) -> None:
        """Wait for a look, which goes on if whoever waits does not."""
        if one.looking is None or one.looking.done():
            one.looking = asyncio.create_task(self._look(one))
        await asyncio.shield(one.looking)

    async def _look(self, one: _KeySet) -> None:
        await asyncio.sleep(max(one.looked_at + EVERY_S - self._clock(), 0.0))
        one.looked_at = self._clock()
        try:
            text, age = await fetch_jwks(one.trusted, self._caller)
            keys = await asyncio.to_thread(read_jwks, text)
        except Unavailable as error:
            if one.problem != str(error):
                logger.warning("no keys of issuer %r: %s", one.trusted.issuer, error)
            one.problem, one.due = str(error), self._clock() + RETRY_S
            return
        if keys != one.keys:
            await asyncio.to_thread(self._store, one, keys)
            one.keys = keys
            await self._publish()
        one.problem = _unusable(keys, one.trusted)
        # Last, for whoever looks meanwhile waits for what is due.
        one.due, one.read_at = self._clock() + age, time.time()

    def _set_of(self, trusted: TrustedIssuer) -> _KeySet:
        new = _KeySet(trusted)
        known = self._sets.get(new.name)
        if known is None:
            new.keys, new.read_at = self._stored(new.name)
            return new
        known.trusted = trusted
        return known

    def _stored(self, name: str) -> tuple[tuple[IssuerKey, ...], float | None]:
        with self._database.read() as connection:
            found = document(connection, name)
        if found is None:
            return (), None
        return tuple(map(_key, json.loads(found.text))), found.updated_at

    def _store(self, one: _KeySet, keys: Sequence[IssuerKey]) -> None:
        """Keep keys, and none of issuers that the policy does not name any more."""
        text = json.dumps([asdict(key) for key in keys])
        with self._database.write() as connection:
            keep_documents(connection, _NAME, list(self._sets))
            put_document(connection, one.name, text)
            kids = ", ".join(repr(key.kid) for key in keys) or "none"
            text = f"issuer {one.trusted.issuer!r} of JWTs signs by other keys: {kids}"
            data = {"issuer": one.trusted.issuer, "keys": [key.kid for key in keys]}
            event_log.append(connection, "", Note(None, "issuer_keys_changed", text, data))


def _unusable(keys: Sequence[IssuerKey], trusted: TrustedIssuer) -> str:
    if any(set(key.algorithms) & set(trusted.algorithms) for key in keys):
        return ""
    return f"the issuer has no key for {', '.join(trusted.algorithms)}"


def _key(stored: Mapping[str, Any]) -> IssuerKey:
    return IssuerKey(stored["kid"], tuple(stored["algorithms"]), stored["jwk"])
