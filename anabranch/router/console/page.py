"""The console: a page below ``/console`` that shows what runs, and lets people act on it.

| method | path | answers |
|---|---|---|
| GET | ``/console`` | the page; files that it needs lie below |
| GET | ``/console/events?graph=`` | server-sent events; see ``console_feed`` |
| POST | ``/console/login`` | a session for ``{"key"}`` or ``{"code"}``; see ``login`` |
| POST | ``/console/logout`` | ends the session |
| GET | ``/console/api/…`` | what the control API answers there, of the paths in ``_READ`` |

Page and files are the same for everyone. Events and reads need no key where the engine listens on
loopback and is asked from this machine by a name of loopback; else they show what the caller may
view. All that changes something goes to the control API itself, which always asks who it is.
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import parse_qs

from anabranch.access.identity import Identity
from anabranch.errors import NotFound
from anabranch.names import GRAPH_IN_PATH, MAX_NAME
from anabranch.router.askers import Askers
from anabranch.router.backend import ControlBackend
from anabranch.router.console.feed import Feed
from anabranch.router.console.login import ConsoleLogin
from anabranch.router.errors import Headers, HttpReply, MethodNotAllowed
from anabranch.router.http.access import foreign
from anabranch.router.http.app import Answer, json_reply
from anabranch.router.http.assets import asset
from anabranch.router.http.event_stream import begin
from anabranch.router.http.request import BodyRule, HttpRequest

CONSOLE = "/console"
_TRACES = "/traces/"
"""A trace that is not there may be on its way: the page asks until it is, so that is no error."""
_READ = re.compile(
    rf"/graphs/{GRAPH_IN_PATH}"
    r"(/(compare|traffic|rollout|monitors|history|replicas|revisions(/[0-9]{1,9}(/(plan|example|diff))?)?))?"
    r"|/graphs|/events|/history|/links|/nodes|/access/me|/traces/[0-9a-f]{32}"
)
# Nothing comes from, or goes to, anywhere else, and no other page may put this one into a frame.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_FILE: Headers = ((b"cache-control", b"no-cache"),)
"""The page and its files belong together, so none may be of another version."""
_PAGE: Headers = (
    *_FILE,
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Console:
    """Answers all below ``/console``; ``body`` bounds what is sent to it."""

    def __init__(self, control: ControlBackend, askers: Askers, body: BodyRule) -> None:
        self._control = control
        self._askers = askers
        login = ConsoleLogin(control, body)
        self._posts = {"/login": login.begin, "/logout": login.end}
        self._feed = Feed(control)

    async def answer(self, request: HttpRequest, path: str) -> Answer:
        """Answer a request; ``path`` is what follows ``/console``."""
        if path in self._posts:
            if request.method != "POST":
                raise MethodNotAllowed(request.method, ["POST"])
            return foreign(request.headers) or await self._posts[path](request)
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(request.method, ["GET", "HEAD"])
        if not path:
            return HttpReply(307, b"", ((b"location", b"console/"),))
        if path == "/":
            return self._file(request, "index.html", _PAGE)
        if path == "/events" or path.startswith("/api/"):
            return foreign(request.headers) or await self._read(request, path)
        return self._file(request, path.removeprefix("/"), _FILE)

    async def _read(self, request: HttpRequest, path: str) -> Answer:
        query = request.scope.get("query_string", b"").decode("latin-1")
        below = path.removeprefix("/api")
        if path == "/events":
            graph = parse_qs(query, max_num_fields=8).get("graph", [""])[-1][: MAX_NAME + 1]
            return await begin(self._feed.events(graph, partial(self._who, request)))
        asker = await self._askers.reader(request, below)
        if _READ.fullmatch(below) is None:
            raise NotFound(f"the console reads nothing at {below[:256]!r}")
        status, headers, body = await self._control.handle("GET", below, query, b"", asker)
        if status == 404 and below.startswith(_TRACES):
            return json_reply({"trace_id": below.removeprefix(_TRACES), "spans": []})
        return HttpReply(status, body, headers)

    async def _who(self, request: HttpRequest) -> Identity:
        return (await self._askers.reader(request)).identity

    def _file(self, request: HttpRequest, name: str, headers: Headers) -> HttpReply:
        return asset("console/static", name, request.headers.get("accept-encoding", ""), headers)
