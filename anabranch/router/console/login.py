"""Begins and ends sessions of the console.

The session's cookie goes to the browser where no script reads it, its other half to the page, which
sends that along in ``x-anabranch-csrf``: see ``control.access.sessions``.
"""

from __future__ import annotations

from http import HTTPStatus

import orjson

from anabranch.access.identity import Asker, anonymous
from anabranch.router.backend import ControlAnswer, ControlBackend
from anabranch.router.errors import HttpReply
from anabranch.router.http.headers import session_cookies
from anabranch.router.http.request import BodyRule, HttpRequest

_PRIVATE = (b"cache-control", b"no-store")
_BEARER = "Bearer "


class ConsoleLogin:
    """Answers POST of ``/console/login`` and ``/console/logout``; ``body`` bounds what is sent."""

    def __init__(self, control: ControlBackend, body: BodyRule) -> None:
        self._control = control
        self._body = body

    async def begin(self, request: HttpRequest) -> HttpReply:
        """Begin a session for a key or a code: 200 with ``{"csrf"}`` and the cookie."""
        status, headers, answer = await self._ask("POST", request, await request.body(self._body))
        if status != HTTPStatus.CREATED:
            return HttpReply(status, answer, (*headers, _PRIVATE))
        made = orjson.loads(answer)
        cookie = _cookie(request, made["cookie"], int(made["seconds"]))
        content = orjson.dumps({"csrf": made["csrf"]})
        return HttpReply(200, content, (*headers, _PRIVATE, (b"set-cookie", cookie)))

    async def end(self, request: HttpRequest) -> HttpReply:
        """End the session that the request shows, and take the cookie back."""
        shown = (request.head.credentials.authorization or b"").decode("latin-1")
        body = orjson.dumps({"session": shown.removeprefix(_BEARER)})
        status, headers, answer = await self._ask("DELETE", request, body)
        gone = (b"set-cookie", _cookie(request, "", 0))
        return HttpReply(status, answer, (*headers, _PRIVATE, gone))

    async def _ask(self, method: str, request: HttpRequest, body: bytes) -> ControlAnswer:
        """Ask as nobody: whoever logs in has no other way to show a key."""
        nobody = Asker(anonymous(), request.head.address, request.id)
        return await self._control.handle(method, "/sessions", "", body, nobody)


def _cookie(request: HttpRequest, value: str, seconds: int) -> bytes:
    """Return a cookie of this engine alone; by TLS where the browser says that the page is."""
    secured, plain = session_cookies(request.headers.get("host", ""))
    is_tls = request.headers.get("origin", "").startswith("https:")
    name, end = (secured, "; Secure") if is_tls else (plain, "")
    text = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{end}"
    return text.encode("ascii")
