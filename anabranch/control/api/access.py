"""Endpoints of keys and access rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, get_args

from pydantic import Field

from anabranch.access.identity import Identity
from anabranch.access.keys import ApiKey
from anabranch.access.roles import ACTIONS, EVERY, Grant, Role, allowed
from anabranch.access.table import Bound
from anabranch.control.access.book import AccessBook
from anabranch.control.access.policy import Graphs
from anabranch.control.api.endpoints import (
    ApiAnswer,
    ApiCall,
    Guarded,
    Query,
    Routes,
    answer,
    read_body,
)
from anabranch.errors import Forbidden, InvalidRequest
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Model

KEY_NAME = r"^[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
Seconds = Annotated[float, Field(gt=0, le=10 * 366 * 86_400)]
DAY = 86_400.0


class _Key(Model):
    name: Annotated[str, Field(pattern=KEY_NAME)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=8, strict=False)]
    graphs: Graphs = (EVERY,)
    seconds: Seconds | None = None


class _Rotation(Model):
    overlap: Annotated[float, Field(ge=0, le=366 * 86_400)] = DAY


class AccessApi:
    """Answers about keys and access rules.

    | method | path | answers |
    |---|---|---|
    | GET | ``/keys`` | ``{"keys": [...]}``: name, roles, times; never a key |
    | POST | ``/keys`` | 201, a key, for ``{"name", "roles", "graphs", "seconds"}`` |
    | POST | ``/keys/<name>/rotate`` | 201, another key; ``{"overlap"}`` is in seconds, a day |
    | DELETE | ``/keys/<name>`` | 200; the key counts nowhere any more |
    | GET | ``/access`` | ``{"policy", "anonymous", "issuers"}``: document, roles without a key |
    | PUT | ``/access`` | ``{"rules", "issuers"}``, for a policy in YAML; an empty one takes it |
    | | | back |
    | GET | ``/access/check?kind=&who=&action=&graph=`` | ``{"allowed", "why", "roles"}`` |
    | GET | ``/access/me?graph=`` | ``{"kind", "name", "roles", "actions"}`` of who asks |

    Issuers of JWTs are ``{"issuer", "keys", "read_at", "problem"}``, with the names of their keys.
    Who administers some graphs only may make and revoke keys for these graphs. ``actions`` are what
    roles allow for ``graph``; without that, for the engine as a whole.
    """

    def __init__(self, book: AccessBook) -> None:
        self._book = book
        key = "/keys/(?P<key>[^/]{1,64})"
        self.routes: Routes = {
            "/keys": {
                "GET": Guarded("administer", self._list, somewhere=True),
                "POST": Guarded("administer", self._make, somewhere=True),
            },
            key: {"DELETE": Guarded("administer", self._revoke, somewhere=True)},
            f"{key}/rotate": {"POST": Guarded("administer", self._rotate, somewhere=True)},
            "/access": {
                "GET": Guarded("administer", self._policy),
                "PUT": Guarded("administer", self._put_policy),
            },
            "/access/check": {"GET": Guarded("administer", self._check)},
            "/access/me": {"GET": Guarded(None, self._me)},
        }

    async def _list(self, call: ApiCall) -> ApiAnswer:
        found = await asyncio.to_thread(self._book.keys.all)
        own = [one for one in found if _administers(call.identity, one.grants)]
        return answer(200, {"keys": [_shown(one) for one in own]})

    async def _make(self, call: ApiCall) -> ApiAnswer:
        asked = read_body(call.body, _Key)
        grants = [Grant(role, graphs) for role in asked.roles for graphs in asked.graphs]
        ruled = await asyncio.to_thread(self._book.ruled, asked.name)
        for grant in (*grants, *ruled):
            if not call.identity.may("administer", grant.graphs):
                raise call.identity.refusal("administer", grant.graphs)
        made, key = await self._book.change(
            lambda: self._book.keys.add(asked.name, grants, asked.seconds)
        )
        return answer(201, {**_shown(made), "key": key})

    async def _rotate(self, call: ApiCall) -> ApiAnswer:
        overlap = read_body(call.body, _Rotation).overlap
        await self._check_rules(call)
        made, key = await self._book.change(lambda: self._book.keys.rotate(call.key, overlap))
        return answer(201, {**_shown(made), "key": key})

    async def _revoke(self, call: ApiCall) -> ApiAnswer:
        await self._check_rules(call)
        await self._book.change(lambda: self._book.keys.revoke(call.key))
        return answer(200, {"name": call.key, "state": "revoked"})

    async def _check_rules(self, call: ApiCall) -> None:
        """Raise Forbidden where a key gives more than who asks may give, by itself or by rules."""
        found = await asyncio.to_thread(self._book.keys.of, call.key)
        ruled = await asyncio.to_thread(self._book.ruled, call.key)
        given = [grant for one in found for grant in one.grants]
        if not _administers(call.identity, (*given, *ruled)):
            raise Forbidden(f"{call.identity} does not administer all graphs of key {call.key!r}")

    async def _policy(self, call: ApiCall) -> ApiAnswer:
        text, table = await asyncio.gather(
            asyncio.to_thread(self._book.policy_text), self._book.now()
        )
        issuers = self._book.signing.view()
        return answer(
            200, {"policy": text, "anonymous": _roles(table.anonymous), "issuers": issuers}
        )

    async def _put_policy(self, call: ApiCall) -> ApiAnswer:
        try:
            text = call.body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the policy is not UTF-8: {error}") from None
        policy = await self._book.change(lambda: self._book.put_policy(text))
        await self._book.signing.look()
        return answer(200, {"rules": len(policy.rules), "issuers": self._book.signing.view()})

    async def _check(self, call: ApiCall) -> ApiAnswer:
        query = call.query
        action = _one_of(query, "action", tuple(sorted(ACTIONS)))
        kind = _one_of(query, "kind", (*get_args(Bound), "anonymous"))
        identity = await self._identity(kind, query.get("who", ""))
        graph = query.get("graph", "")
        may = identity.may(action, graph)
        why = "" if may else str(identity.refusal(action, graph))
        return answer(200, {"allowed": may, "why": why, "roles": _roles(identity.grants)})

    async def _identity(self, kind: Any, who: str) -> Identity:
        table = await self._book.now()
        if kind == "anonymous":
            return Identity("anonymous", "", table.anonymous)
        if kind == "key":
            await asyncio.to_thread(self._book.keys.of, who)
            return next(
                one.identity
                for one in table.keys.values()
                if (one.identity.kind, one.identity.name) == ("key", who)
            )
        return Identity(kind, who, (*table.anonymous, *table.ruled.get((kind, who), ())))

    async def _me(self, call: ApiCall) -> ApiAnswer:
        me = call.identity
        actions = sorted(allowed(me.grants, call.query.get("graph", "")))
        roles = _roles(me.grants)
        return answer(200, {"kind": me.kind, "name": me.name, "roles": roles, "actions": actions})


def _administers(identity: Identity, grants: Iterable[Grant]) -> bool:
    """Return whether somebody administers all graphs that roles are for."""
    return all(identity.may("administer", grant.graphs) for grant in grants)


def _shown(key: ApiKey) -> dict[str, Any]:
    fields = asdict(key)
    del fields["digest"], fields["grants"]
    return {**fields, "roles": _roles(key.grants)}


def _roles(grants: Iterable[Grant]) -> list[dict[str, str]]:
    return [{"role": one.role, "graphs": one.graphs} for one in grants]


def _one_of(query: Query, name: str, choices: tuple[Any, ...]) -> Any:
    found = query.get(name, "")
    if found not in choices:
        raise InvalidRequest(
            f"{name}={found[:64]!r} is none of {', '.join(choices)}{hint(found, choices)}"
        )
    return found
