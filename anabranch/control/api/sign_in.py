"""Endpoints of sessions of the console, and of codes that begin one: ``anabranch up`` prints a
link with a code in place of a key.

A code stands in the fragment of the link, which browsers send to no server, and the page removes it
from the address bar. So what stays in a history, a terminal or a log is worth nothing afterwards.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from anabranch.access.actor import ACTOR
from anabranch.access.failures import Failures
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.control.access.book import AccessBook
from anabranch.control.access.sessions import SESSION_S
from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer, read_body
from anabranch.errors import InvalidRequest, NotFound, Unauthenticated
from anabranch.specs.models import Model

CODE_S = 600.0
"""Seconds for which a code can be used."""
MOST_CODES = 16
"""Codes that wait to be used; further ones replace the oldest."""
_BYTES = 24


@dataclass(frozen=True)
class _Made:
    maker: Identity
    ends: float


class SignInCodes:
    """The codes that were given out, as digests. For one thread; ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: dict[str, _Made] = {}
        """By digest, oldest first."""

    def make(self, maker: Identity) -> str:
        """Return a new code, which acts as its maker: 192 random bits, fit for a URL."""
        code = secrets.token_urlsafe(_BYTES)
        self._made[digest_of(code)] = _Made(maker, self._clock() + CODE_S)
        while len(self._made) > MOST_CODES:
            del self._made[next(iter(self._made))]
        return code

    def use(self, code: str) -> Identity:
        """Use a code up, and return its maker.

        NotFound if it was used before, is too old, or was never given out.
        """
        found = self._made.pop(digest_of(code), None)
        if found is None or found.ends < self._clock():
            raise NotFound(
                f"this link was used before, or is older than {CODE_S / 60:g} minutes;"
                " `anabranch up` prints a new one"
            )
        return found.maker


class _Login(Model):
    key: str | None = None
    code: str | None = None


class _Session(Model):
    session: str


class SignInApi:
    """Answers about sessions and codes.

    | method | path | answers |
    |---|---|---|
    | POST | ``/codes`` | 201, ``{"code", "seconds"}``: a new code and how long it can be used |
    | POST | ``/sessions`` | 201, ``{"cookie", "csrf", "seconds"}``: both halves of a session |
    | DELETE | ``/sessions`` | 200, for ``{"session"}``: the cookie, a dot, the other half |

    A session begins with ``{"key"}`` or ``{"code"}``.
    An address that shows keys or codes that are not known, again and again, is told to wait, and so
    is whoever begins one session after the other.
    """

    def __init__(self, book: AccessBook) -> None:
        self._book = book
        self._codes = SignInCodes()
        self._failures = Failures()
        self._logins = Failures()
        """Logins by key: each is a new table for all routers."""
        self.routes: Routes = {
            "/codes": {"POST": Guarded("administer", self._make)},
            "/sessions": {
                "POST": Guarded(None, self._begin),
                "DELETE": Guarded(None, self._end),
            },
        }

    async def _make(self, call: ApiCall) -> ApiAnswer:
        return answer(201, {"code": self._codes.make(call.identity), "seconds": CODE_S})

    async def _begin(self, call: ApiCall) -> ApiAnswer:
        asked = read_body(call.body, _Login)
        if (asked.key is None) == (asked.code is None):
            raise InvalidRequest("a login takes either a key or a code")
        try:
            shown = self._shown(asked)
            self._logins.add(str(shown), "too many sessions were begun with this key")
            cookie, csrf = await self._book.begin_session(shown)
        except (NotFound, Unauthenticated):
            self._failures.add(ACTOR.get().address)
            raise
        return answer(201, {"cookie": cookie, "csrf": csrf, "seconds": SESSION_S})

    def _shown(self, asked: _Login) -> str | Identity:
        """Return the digest of the key that is shown, or who has made the code."""
        if asked.code is not None:
            return self._codes.use(asked.code)
        assert asked.key is not None
        return digest_of(asked.key.strip())

    async def _end(self, call: ApiCall) -> ApiAnswer:
        await self._book.end_session(read_body(call.body, _Session).session)
        return answer(200, {"state": "ended"})
