"""Codes that open the console once: ``anabranch up`` prints a link with one in place of the token.

A code stands in the fragment of the link, which browsers send to no server, and the page removes it
from the address bar. So what stays in a history, a terminal or a log is worth nothing afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from anabranch.control.access.token import read_token
from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Guarded, Routes, answer, read_body
from anabranch.errors import NotFound
from anabranch.specs.models import Model

CODE_S = 600.0
"""Seconds for which a code can be used."""
MOST_CODES = 16
"""Codes that wait to be used; further ones replace the oldest."""
_BYTES = 24


class SignInCodes:
    """The codes that were given out, as digests. For one thread; ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        """Digests of codes, oldest first, and when each can be used no longer."""

    def make(self) -> str:
        """Return a new code: 192 random bits, fit for a URL."""
        code = secrets.token_urlsafe(_BYTES)
        self._ends[_digest(code)] = self._clock() + CODE_S
        while len(self._ends) > MOST_CODES:
            del self._ends[next(iter(self._ends))]
        return code

    def use(self, code: str) -> None:
        """Use a code up; NotFound if it was used before, is too old, or was never given out."""
        ends = self._ends.pop(_digest(code), None)
        if ends is None or ends < self._clock():
            raise NotFound(
                f"this link was used before, or is older than {CODE_S / 60:g} minutes;"
                " `anabranch up` prints a new one"
            )


class _Code(Model):
    code: str


class SignInApi:
    """Answers about codes.

    | method | path | answers |
    |---|---|---|
    | POST | ``/codes`` | 201, ``{"code", "seconds"}``: a new code and how long it can be used |
    | POST | ``/codes/use`` | ``{"token"}``, for ``{"code"}``; the gateway asks for no token here |
    """

    def __init__(self, token_file: Path, codes: SignInCodes | None = None) -> None:
        self._token_file = token_file
        self._codes = codes or SignInCodes()

    @property
    def routes(self) -> Routes:
        """Endpoints by path and by method."""
        return {
            "/codes": {"POST": Guarded("administer", self._make)},
            "/codes/use": {"POST": Guarded(None, self._use)},
        }

    async def _make(self, call: ApiCall) -> ApiAnswer:
        return answer(201, {"code": self._codes.make(), "seconds": CODE_S})

    async def _use(self, call: ApiCall) -> ApiAnswer:
        code = read_body(call.body, _Code).code
        self._codes.use(code)
        return answer(200, {"token": await asyncio.to_thread(read_token, self._token_file)})


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
