"""``dashboard``: opens Ray's dashboard in a browser that is logged in.

Ray's dashboard takes the Ray token from a cookie, and browsers send the cookies of a host to all
its ports. So a page of this command, at the dashboard's host on a port of its own, sets the cookie
and leads on to the dashboard. It answers one request, which shows a code that nobody can guess. The
token stands in no URL and in no argument of a process.

On loopback the host is a name of the engine's own under ``localhost``, which browsers take for
loopback (RFC 6761, section 6.3): a cookie of ``127.0.0.1`` would go to every server of this machine
that the browser visits, those of other users included, and the token runs code.
"""

from __future__ import annotations

import ipaddress
import secrets
import stat
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Annotated
from urllib.parse import urlsplit

import typer

from anabranch.cli import options
from anabranch.cli.remote import own_home
from anabranch.cli.terminal import note, result
from anabranch.errors import EngineError

COOKIE = "ray-authentication-token"
"""The cookie in which Ray's dashboard looks for the token."""
_WITHIN_S = 600.0
"""For how long the link can be used, as that of the console."""
_REQUEST_S = 10.0
_PLAIN = "127.0.0.1", "localhost"
"""Hosts that stand in for the engine's name with a browser that does not know it."""


def dashboard(
    home: options.Home = None,
    print_link: Annotated[
        bool,
        typer.Option("--print", help="Print a link to open elsewhere, and start no browser."),
    ] = False,
) -> None:
    """Open Ray's dashboard in a browser, logged in with the engine's Ray token.

    Ends once the browser is logged in, which the link allows once, within ten minutes.
    """
    folder = own_home(home)
    from anabranch.client.connection.engine_state import require_state

    state = require_state(folder)
    if state.attached:
        raise EngineError(
            "the engine is on a Ray that it has not started, and does not know how one logs in to"
            f" the dashboard of that: it is at {state.dashboard or 'no address that Ray tells'}"
        )
    with LoginPage(state.dashboard, _token(state.info(folder).dashboard_token), state.id) as page:
        if print_link:
            result(page.link)
            page.wait()
        else:
            note(f"this link can be used once, should no browser open: {page.link}")
            with _redirect(page.link) as file:
                # in a thread, since some browsers return when they end
                Thread(target=webbrowser.open, args=[file.as_uri()], daemon=True).start()
                page.wait()
    note(f"a browser is logged in to {page.dashboard}")


class LoginPage:
    """A page that logs one browser in to a dashboard, while the context lasts.

    Args:
        dashboard: URL of the dashboard, ``http://host:port``.
        token: What the cookie holds.
        engine: Id of the engine, which its name on loopback carries.
    """

    def __init__(self, dashboard: str, token: str, engine: str) -> None:
        parts = urlsplit(dashboard)
        address = parts.hostname or ""
        loopback = ipaddress.ip_address(address).is_loopback
        self.host = f"ray-{engine[:8]}.localhost" if loopback else address
        self.port = parts.port
        self.dashboard = f"http://{self.host}:{self.port}"
        self.token = token
        self.used = Event()
        """Set once a browser is logged in."""
        self._code = f"/{secrets.token_urlsafe(32)}"
        self._lock = Lock()
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self.link = f"http://{self.host}:{self._server.server_port}{self._code}"

    def __enter__(self) -> LoginPage:
        Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Return once a browser is logged in; EngineError if none comes within ten minutes."""
        if not self.used.wait(_WITHIN_S):
            raise EngineError(
                f"no browser has opened the link within {_WITHIN_S / 60:.0f} minutes: "
                "`anabranch dashboard` makes another one"
            )

    def take(self, path: str) -> bool:
        """Return whether a path is that of the link, which no other request has used."""
        with self._lock:
            if not (self._code and secrets.compare_digest(path.encode(), self._code.encode())):
                return False
            self._code = ""
            return True


def _handler(page: LoginPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            if page.take(self.path):
                self._answer(303, "logged in", *_logged_in(page, self.headers.get("host", "")))
                page.used.set()
            else:
                self._answer(404, "no such link, or one that was used: run `anabranch dashboard`")

        def _answer(self, status: int, text: str, *headers: tuple[str, str]) -> None:
            body = text.encode()
            self.send_response(status)
            plain = ("content-type", "text/plain"), ("content-length", str(len(body)))
            for header in (*headers, *plain, ("cache-control", "no-store")):
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Write no log: it would hold the link."""

    return Handler


def _logged_in(page: LoginPage, asked: str) -> Iterator[tuple[str, str]]:
    """Yield the headers of an answer that logs in: the cookie ends with the browser's session."""
    yield "set-cookie", f"{COOKIE}={page.token}; Path=/; HttpOnly; SameSite=Strict"
    host = asked.rpartition(":")[0]
    yield "location", f"http://{host if host in _PLAIN else page.host}:{page.port}/"
    yield "referrer-policy", "no-referrer"


@contextmanager
def _redirect(link: str) -> Iterator[Path]:
    """Yield a file that leads to a link, readable by this user alone, until the context ends."""
    with tempfile.TemporaryDirectory(prefix="anabranch-") as folder:
        file = Path(folder) / "dashboard.html"
        file.touch(stat.S_IRUSR | stat.S_IWUSR)
        file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={link}">\n')
        yield file


def _token(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise EngineError(f"cannot read the Ray token: {error}") from error
