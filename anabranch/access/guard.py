"""Decides by an access table who asks, and whether that is allowed; in the process that is asked.

What a request shows is looked at once, and known from then on: most requests show the same few
credentials. A new table starts from nothing, so what was revoked counts no longer once the table is
there. An address that shows unknown keys again and again is told to wait. A JWT whose signing key
is not known waits until its issuer has been asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from anabranch.access.failures import Failures
from anabranch.access.identity import HOW, Identity
from anabranch.access.issuers import UnknownSigner
from anabranch.access.keys import digest_of
from anabranch.access.renewal import KeyRenewal, RenewKeys
from anabranch.access.roles import Action, allowed
from anabranch.access.table import AccessTable
from anabranch.errors import Unauthenticated

if TYPE_CHECKING:  # its library takes a while to import, and most engines never see a JWT
    from anabranch.access.jwt import TokenVerifier

MAX_KNOWN = 4096
"""Credentials that are known at a time."""
MAX_SHOWN = 8192
"""Longest credentials that are looked at, in bytes."""
_SCHEME = "bearer"
_DOTS = 2
"""In a JWT; keys have none."""

Actions: TypeAlias = frozenset[Action]


class Credentials(NamedTuple):
    """What a request shows of who asks: headers as they came, None where there is none."""

    authorization: bytes | None = None
    certificate: bytes | None = None
    """Common name of the client's certificate, which the edge has verified."""
    renewed: bool = False
    """Whether the issuer of a JWT has been asked for its keys because of this request."""


NOTHING = Credentials()
"""Those of a request that shows nothing."""


class KnownCaller(NamedTuple):
    """Who asks, what that allows for one graph, and until when that is known, as a Unix time."""

    identity: Identity
    actions: Actions
    until: float = inf
    problem: str = ""
    """Why what is shown counts for nothing, if it does not."""


class Guard:
    """The access rules of one ``graph``, or with ``""`` of the engine as a whole.

    ``clock`` gives Unix time; ``renew`` asks for the keys that an issuer of JWTs has now.
    """

    def __init__(
        self,
        table: AccessTable,
        graph: str = "",
        clock: Callable[[], float] = time.time,
        failures: Failures | None = None,
        renew: RenewKeys | None = None,
    ) -> None:
        self._graph = graph
        self._clock = clock
        self._failures = failures or Failures()
        self._renewal = KeyRenewal(renew)
        self.apply(table)

    def apply(self, table: AccessTable) -> None:
        """Put a table in force."""
        self._table = table
        self._known: dict[Credentials, KnownCaller] = {}
        self._tokens = _verifier(table)

    async def take(self, table: AccessTable) -> None:
        """Put a table in force, as followers do."""
        if table.issuers and self._tokens is None:
            await asyncio.to_thread(_verifier, table)  # imports
        self.apply(table)

    async def renewed(
        self, decide: Callable[[Credentials], Identity], shown: Credentials
    ) -> Identity:
        """Return what ``decide`` does, as ``check`` and ``identify`` do.

        Where it raises UnknownSigner, the issuer is asked for its keys before it decides anew.
        """
        try:
            return decide(shown)
        except UnknownSigner as error:
            await self._renewal.renew(error.issuer, error.kid)
        return decide(shown._replace(renewed=True))

    def check(self, action: Action, shown: Credentials, address: str = "") -> Identity:
        """Return who asks, from an ``address``. Credentials that are not known count like none.

        Raises Unauthenticated where that does not allow the action, Forbidden where what is shown
        is known and does not allow it, and TooManyRequests for an address that shows what is not
        known again and again. With UnknownSigner nothing is decided yet: see ``check_renewed``.
        """
        caller = self._caller_of(shown)
        if action not in caller.actions:
            self._refuse(action, caller, address)
        return caller.identity

    async def check_renewed(
        self, action: Action, shown: Credentials, address: str = ""
    ) -> Identity:
        """Return what ``check`` does, once the issuer of an unknown key has been asked for it."""
        return await self.renewed(lambda one: self.check(action, one, address), shown)

    def identify(self, shown: Credentials, address: str = "") -> Identity:
        """Return who asks, whatever that allows; raises where what is shown is not known."""
        caller = self._caller_of(shown)
        self._check_known(caller, address)
        return caller.identity

    def check_of(
        self, graph: str, action: Action, shown: Credentials, address: str = ""
    ) -> Identity:
        """Return who asks for an action on any graph, as ``check`` does for that of the guard."""
        caller = self._caller_of(shown)
        if not caller.identity.may(action, graph):
            self._check_known(caller, address)
            raise caller.identity.refusal(action, graph)
        return caller.identity

    def _caller_of(self, shown: Credentials) -> KnownCaller:
        caller = self._known.get(shown)
        if caller is None or caller.until <= self._clock():
            caller = self._looked_up(shown)
        return caller

    def _looked_up(self, shown: Credentials) -> KnownCaller:
        caller = self._caller(shown)
        if caller.problem:  # nor kept: whoever makes keys up would fill the memory with them
            self._known.pop(shown, None)
            return caller
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[shown] = caller
        return caller

    def _caller(self, shown: Credentials) -> KnownCaller:
        if shown.authorization is not None:
            return self._bearer(shown.authorization.decode("latin-1"), shown.renewed)
        if shown.certificate is not None:
            name = shown.certificate.decode("latin-1")
            grants = self._table.ruled.get(("certificate", name), ())
            return self._with(Identity("certificate", name, (*self._table.anonymous, *grants)))
        return self._nobody()

    def _bearer(self, authorization: str, renewed: bool) -> KnownCaller:
        if len(authorization) > MAX_SHOWN:
            return self._nobody(f"credentials have at most {MAX_SHOWN} bytes")
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != _SCHEME:
            return self._nobody(f"credentials must be a bearer token: {HOW}")
        secret = secret.strip()
        known = self._table.keys.get(digest_of(secret))
        if known is None and secret.count(".") == _DOTS:
            return self._subject(secret, renewed)
        if known is None:
            return self._nobody("this key is not known, or was revoked")
        until = inf if known.expires_at is None else known.expires_at
        if until <= self._clock():
            return self._nobody(f"{known.identity} has expired")
        return self._with(known.identity, until)

    def _subject(self, token: str, renewed: bool) -> KnownCaller:
        if self._tokens is None:
            return self._nobody("this is a JWT, and this engine's access policy has no issuers")
        try:
            found = self._tokens.verified(token, self._clock())
        except UnknownSigner as error:
            if not renewed:
                raise
            return self._nobody(str(error))
        except Unauthenticated as error:
            return self._nobody(str(error))
        grants = [*self._table.anonymous, *self._table.ruled.get(("subject", found.name), ())]
        for group in found.groups:
            grants += self._table.ruled.get(("group", group), ())
        return self._with(Identity("subject", found.name, tuple(grants)), found.until)

    def _nobody(self, problem: str = "") -> KnownCaller:
        return self._with(Identity("anonymous", "", self._table.anonymous))._replace(
            problem=problem
        )

    def _with(self, identity: Identity, until: float = inf) -> KnownCaller:
        return KnownCaller(identity, allowed(identity.grants, self._graph), until)

    def _refuse(self, action: Action, caller: KnownCaller, address: str) -> NoReturn:
        self._check_known(caller, address)
        raise caller.identity.refusal(action, self._graph)

    def _check_known(self, caller: KnownCaller, address: str) -> None:
        if caller.problem:
            self._failures.add(address)
            raise Unauthenticated(caller.problem)


def _verifier(table: AccessTable) -> TokenVerifier | None:
    """Return what verifies JWTs by a table; None where none count."""
    if not table.issuers:
        return None
    from anabranch.access.jwt import TokenVerifier

    return TokenVerifier(table.issuers)
