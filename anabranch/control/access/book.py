"""Who may do what: keys and rules from the store, as a table that every process follows."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from anabranch.access.identity import TOKEN, Identity
from anabranch.access.keys import ApiKey, digest_of
from anabranch.access.roles import Grant, Role
from anabranch.access.table import AccessTable, KnownKey, Roles, Who
from anabranch.control.access.key_sets import KeySets
from anabranch.control.access.keys import KeyStore
from anabranch.control.access.policy import Policy, read_policy
from anabranch.control.access.token import read_token
from anabranch.control.lifecycle.operations import Note
from anabranch.control.store import event_log
from anabranch.control.store.database import Database
from anabranch.control.store.schema import documents
from anabranch.control.traffic.topic import PATIENCE_S, Topic, first_version

T = TypeVar("T")

_POLICY = "access"
_NO_POLICY = Policy.model_validate({})
_FORCE_S = 1.0
"""Longest time that a change waits until all who follow the table have it."""


class AccessBook:
    """The keys and rules of an engine, and the table in force.

    ``roles`` are those of callers who show nothing, where no policy says otherwise.
    """

    def __init__(
        self,
        database: Database,
        token_file: Path,
        roles: Iterable[Role],
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE_S,
    ) -> None:
        self.keys = KeyStore(database, clock)
        self.signing = KeySets(database, self.changed)
        self._database = database
        self._token_file = token_file
        self._anonymous = tuple(Grant(role) for role in roles)
        self._topic: Topic[AccessTable | None] = Topic(first_version(), None, patience)
        self._changing = asyncio.Lock()

    async def table(self, follower: str, version: int) -> AccessTable:
        """Wait for a table of another version than a follower has; 0 is none yet.

        After the topic's patience the answer is the same again.
        """
        self._topic.heard(follower, version)
        if self._topic.value is None:
            await self.changed()
        found = await self._topic.next(version)
        assert found is not None
        return found

    def leave(self, follower: str) -> None:
        """Forget a follower that ends."""
        self._topic.leave(follower)

    async def change(self, work: Callable[[], T]) -> T:
        """Change the store in a thread, and return once all who follow the table have it.

        Those who do not poll within a second are taken for gone; they have it with their next poll.
        """
        found = await asyncio.to_thread(work)
        await self.changed()
        await self._topic.confirmed(self._topic.version, _FORCE_S)
        return found

    async def changed(self) -> None:
        """Put in force what stands in the store."""
        async with self._changing:
            made = await asyncio.to_thread(self._made)
            self.signing.wake()
            version = self._topic.version + 1
            self._topic.put(version, replace(made, version=version))

    async def renew_keys(self, issuer: str, kid: str) -> None:
        """Return once all who follow the table have a key of an issuer of JWTs, if it has that."""
        await self.signing.renew(issuer, kid)
        await self._topic.confirmed(self._topic.version, _FORCE_S)

    def policy_text(self) -> str:
        """Return the policy as it was given; empty without one."""
        query = sa.select(documents.c.text).where(documents.c.name == _POLICY)
        with self._database.read() as connection:
            return connection.scalar(query) or ""

    def put_policy(self, text: str) -> Policy:
        """Keep another policy; SpecError where it has mistakes. An empty one takes it back."""
        policy = read_policy(text) if text.strip() else _NO_POLICY
        with self._database.write() as connection:
            connection.execute(documents.delete().where(documents.c.name == _POLICY))
            if text.strip():
                values = {"name": _POLICY, "text": text, "updated_at": time.time()}
                connection.execute(documents.insert().values(**values))
            data = {"rules": len(policy.rules)}
            note = Note(None, "policy_changed", "the access policy was changed", data)
            event_log.append(connection, "", note)
        return policy

    def policy(self) -> Policy:
        """Return the policy in the store."""
        text = self.policy_text()
        return read_policy(text) if text else _NO_POLICY

    def _made(self) -> AccessTable:
        policy = self.policy()
        ruled = _ruled(policy)
        keys = {
            one.digest: KnownKey(_identity(one, ruled), one.expires_at) for one in self.keys.all()
        }
        token = digest_of(read_token(self._token_file))
        anonymous = self._anonymous
        if policy.anonymous is not None:
            anonymous = tuple(grant for rule in policy.anonymous for grant in rule.grants())
        issuers = self.signing.issuers(policy.issuers)
        return AccessTable(0, {**keys, token: KnownKey(TOKEN)}, anonymous, ruled, issuers)


def _ruled(policy: Policy) -> Roles:
    """Return the roles that rules give, by the kind of name and the name."""
    found: dict[Who, tuple[Grant, ...]] = defaultdict(tuple)
    for rule in policy.rules:
        for who in rule.who:
            found[who] += tuple(rule.grants())
    return dict(found)


def _identity(key: ApiKey, ruled: Roles) -> Identity:
    return Identity("key", key.name, (*key.grants, *ruled.get(("key", key.name), ())))
