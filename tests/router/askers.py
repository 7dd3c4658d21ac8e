"""Who asks, for control planes that tests make up: whoever shows a secret administers all."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import orjson

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import TOKEN, Asker
from anabranch.access.keys import digest_of
from anabranch.access.roles import Action, Grant, Role
from anabranch.access.table import AccessTable, KnownKey
from anabranch.router.errors import Headers


class LetsIn:
    """Knows one ``secret``; who shows nothing has the roles of ``anonymous``."""

    node = ""
    secret: ClassVar[str] = "secret"
    anonymous: ClassVar[tuple[Role, ...]] = ("invoker", "feedback")

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        return Asker(self._guard.identify(shown, address), address, request_id)

    async def allowed(
        self, action: Action, graph: str, shown: Credentials, address: str, request_id: str
    ) -> Asker:
        found = self._guard.check_of(graph, action, shown, address)
        return Asker(found, address, request_id)

    def session(self, method: str, body: bytes) -> tuple[int, Headers, bytes]:
        """Begin a session for the secret, or end one, as the control API does."""
        asked = orjson.loads(body)
        if method == "DELETE":
            self._sessions.discard(asked["session"])
            return 200, (), b'{"state": "ended"}'
        if asked.get("key") != self.secret:
            return 401, (), b'{"error": "this key is not known"}'
        return self.begun()

    def begun(self) -> tuple[int, Headers, bytes]:
        """Begin a session."""
        made = {"cookie": f"cookie{len(self._sessions)}", "csrf": "half", "seconds": 60}
        self._sessions.add(f"{made['cookie']}.{made['csrf']}")
        return 201, (), orjson.dumps(made)

    def end_sessions(self) -> None:
        """End all sessions, as a controller that starts anew does."""
        self._sessions.clear()

    @cached_property
    def _sessions(self) -> set[str]:
        return set()

    @property
    def _guard(self) -> Guard:
        keys = {digest_of(one): KnownKey(TOKEN) for one in (self.secret, *self._sessions)}
        return Guard(AccessTable(1, keys, tuple(Grant(role) for role in self.anonymous)))
