"""Who asks, for control planes that tests make up: whoever shows a secret administers all."""

from __future__ import annotations

from typing import ClassVar

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import TOKEN, Asker
from anabranch.access.keys import digest_of
from anabranch.access.roles import Grant, Role
from anabranch.access.table import AccessTable, KnownKey


class LetsIn:
    """Knows one ``secret``; who shows nothing has the roles of ``anonymous``."""

    secret: ClassVar[str] = "secret"
    anonymous: ClassVar[tuple[Role, ...]] = ("caller", "teacher")

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        keys = {digest_of(self.secret): KnownKey(TOKEN)}
        table = AccessTable(1, keys, tuple(Grant(role) for role in self.anonymous))
        return Asker(Guard(table).identify(shown, address), address, request_id)
