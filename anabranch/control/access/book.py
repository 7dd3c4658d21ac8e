"""Who may do what: keys and rules from the store, as a table that every process follows."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection

from anabranch.access.identity import TOKEN, Identity
from anabranch.access.keys import ApiKey, digest_of
from anabranch.access.roles import Grant, Role
from anabranch.access.table import AccessTable, KnownKey, Roles, Who
from anabranch.client.connection.engine_state import read_token
from anabranch.control.access.key_sets import KeySets
from anabranch.control.access.keys import KeyStore
from anabranch.control.access.policy import Policy, read_policy
from anabranch.control.access.sessions import Sessions
from anabranch.control.lifecycle.operations import Note
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.documents import document, put_document
from anabranch.control.traffic.topic import CONFIRMATION_S, PATIENCE_S, Topic, first_version
from anabranch.errors import EngineError, Unauthenticated, Unavailable

T = TypeVar("T")

_POLICY = "access"
_NO_POLICY = Policy.model_validate({})


class AccessBook:
    """The keys and rules of an engine, and the table in force.

    The engine's token is in its ``home``; ``roles`` are those of callers who show nothing, where no
    policy says otherwise.
    """

    def __init__(
        self,
        database: Database,
        home: Path,
        roles: Iterable[Role],
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE_S,
    ) -> None:
        self.keys = KeyStore(database, clock)
        self.signing = KeySets(database, self.changed)
        self._sessions = Sessions(clock)
        self._real: dict[str, KnownKey] = {}
        """The keys of the table in force that are no sessions, the newest last."""
        self._clock = clock
        self._database = database
        self._home = home
        self._anonymous = tuple(Grant(role) for role in roles)
        self._topic: Topic[AccessTable | None] = Topic(first_version(), None, patience)
        self._changing = asyncio.Lock()

    async def table(self, follower: str, version: int) -> AccessTable:
        """Wait for a table of another version than a follower has; 0 is none yet.

        After the topic's patience the answer is the same again.
        """
        self._topic.heard(follower, version)
        await self.now()
        found = await self._topic.next(version)
        assert found is not None
        return found

    async def now(self) -> AccessTable:
        """Return the table in force."""
        if self._topic.value is None:
            await self.changed()
        assert self._topic.value is not None
        return self._topic.value

    def leave(self, follower: str) -> None:
        """Forget a follower that ends."""
        self._topic.leave(follower)

    async def change(self, work: Callable[[], T]) -> T:
        """Change the store in a thread, and return once all who follow the table have it.

        Those who do not poll within five seconds are taken for gone, and have it with their next
        poll.
        """
        found = await asyncio.to_thread(work)
        await self._enforce()
        return found

    async def begin_session(self, shown: str | Identity) -> tuple[str, str]:
        """Begin a session of the key with a digest, or of the newest key of an identity.

        Return its halves, once all who follow the table know it. Unauthenticated for a key that
        is not known.
        """
        await self.now()
        if isinstance(shown, Identity):
            shown = next(reversed(self._digests_of(shown)), "")
        known = self._real.get(shown)
        if known is None or (known.expires_at or inf) <= self._clock():
            raise Unauthenticated("this key is not known, was revoked, or has expired")
        halves = self._sessions.begin(shown, known)
        await self._enforce()
        return halves

    def _digests_of(self, identity: Identity) -> list[str]:
        who = (identity.kind, identity.name)
        return [
            digest
            for digest, one in self._real.items()
            if (one.identity.kind, one.identity.name) == who
        ]

    async def end_session(self, shown: str) -> None:
        """End a session, by its halves as they are shown; what is none changes nothing."""
        self._sessions.end(shown)
        await self._enforce()

    def ruled(self, name: str) -> tuple[Grant, ...]:
        """Return the roles that rules give to the key of a name, beside its own."""
        return _ruled(self.policy()).get(("key", name), ())

    async def _enforce(self) -> None:
        """Put in force what is kept, and wait a while until all who follow have it."""
        await self.changed()
        await self._topic.confirmed(self._topic.version, CONFIRMATION_S)

    async def changed(self) -> None:
        """Put in force what stands in the store."""
        async with self._changing:
            made = await asyncio.to_thread(self._made)
            self.signing.wake()
            version = self._topic.version + 1
            self._real = dict(made.keys)
            keys = {**self._sessions.known(self._real), **self._real}
            self._topic.put(version, replace(made, version=version, keys=keys))

    async def renew_keys(self, issuer: str, kid: str) -> None:
        """Return once all who follow the table have a key of an issuer of JWTs, if it has that."""
        await self.signing.renew(issuer, kid)
        await self._topic.confirmed(self._topic.version, CONFIRMATION_S)

    def policy_text(self) -> str:
        """Return the policy as it was given; empty without one."""
        with self._database.read() as connection:
            return _text(connection)

    def put_policy(self, text: str) -> Policy:
        """Keep another policy; SpecError where it has mistakes. An empty one takes it back."""
        text = text if text.strip() else ""
        policy = read_policy(text) if text else _NO_POLICY
        with self._database.write() as connection:
            change = {"before": {"policy": _text(connection)}, "after": {"policy": text}}
            put_document(connection, _POLICY, text)
            data = {"rules": len(policy.rules)}
            note = Note(None, "policy_changed", "the access policy was changed", data)
            event_log.append(connection, "", note, change)
        return policy

    def policy(self) -> Policy:
        """Return the policy in the store."""
        text = self.policy_text()
        return read_policy(text) if text else _NO_POLICY

    def _made(self) -> AccessTable:
        policy = self.policy()
        ruled = _ruled(policy)
        anonymous = self._anonymous
        if policy.anonymous is not None:
            anonymous = tuple(grant for rule in policy.anonymous for grant in rule.grants())
        issuers = self.signing.issuers(policy.issuers)
        limits = tuple(rule for one in policy.limits for rule in one.rules())
        keys = {
            one.digest: KnownKey(_identity(one, ruled, anonymous), one.expires_at)
            for one in self.keys.all()
        }
        token = digest_of(self._token())
        return AccessTable(0, {**keys, token: KnownKey(TOKEN)}, anonymous, ruled, issuers, limits)

    def _token(self) -> str:
        try:
            return read_token(self._home)
        except EngineError as error:
            raise Unavailable(str(error)) from None


def _text(connection: Connection) -> str:
    found = document(connection, _POLICY)
    return "" if found is None else found.text


def _ruled(policy: Policy) -> Roles:
    """Return the roles that rules give, by the kind of name and the name."""
    found: dict[Who, tuple[Grant, ...]] = defaultdict(tuple)
    for rule in policy.rules:
        for who in rule.who:
            found[who] += tuple(rule.grants())
    return dict(found)


def _identity(key: ApiKey, ruled: Roles, anonymous: tuple[Grant, ...]) -> Identity:
    """Return whose a key is: it allows no less than showing nothing does."""
    grants = (*key.grants, *ruled.get(("key", key.name), ()), *anonymous)
    return Identity("key", key.name, tuple(dict.fromkeys(grants)))
