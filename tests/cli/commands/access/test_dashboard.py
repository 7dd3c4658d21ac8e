"""The link that logs a browser in to Ray's dashboard, followed as browsers do."""

from __future__ import annotations

import http.client
import stat
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

import pytest
from ray._private.authentication import authentication_constants
from typer.testing import CliRunner

from anabranch.cli.app import app
from anabranch.cli.commands.access import dashboard
from anabranch.cli.commands.access.dashboard import COOKIE, LoginPage
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, EngineState, write_state
from anabranch.errors import EngineError

TOKEN = "5e" * 32
STATE = EngineState(
    id="abcdef0123456789", http="http://127.0.0.1:1", grpc="", dashboard="http://127.0.0.1:8265",
    address="127.0.0.1:20000", runtime="", ready=True,
)  # fmt: skip
NAME = "ray-abcdef01.localhost"


@pytest.fixture
def page() -> Iterator[LoginPage]:
    with LoginPage(STATE.dashboard, TOKEN, STATE.id) as one:
        yield one


def follow(link: str, host: str = "") -> tuple[int, http.client.HTTPMessage, str]:
    """Ask for a link at 127.0.0.1; with a ``host`` instead of that of the link."""
    parts = urlsplit(link)
    connection = HTTPConnection("127.0.0.1", parts.port or 0, timeout=10)
    connection.request("GET", parts.path, headers={"host": host or parts.netloc})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, reply.headers, text


def test_the_cookie_is_the_one_that_ray_looks_for() -> None:
    assert authentication_constants.AUTHENTICATION_TOKEN_COOKIE_NAME == COOKIE


def test_the_link_sets_the_cookie_and_leads_to_the_dashboard(page: LoginPage) -> None:
    assert urlsplit(page.link).hostname == NAME and TOKEN not in page.link
    status, headers, text = follow(page.link)
    assert (status, headers["location"]) == (303, f"http://{NAME}:8265/")
    assert headers["set-cookie"] == f"{COOKIE}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["cache-control"] == "no-store" and TOKEN not in text
    page.wait()


def test_it_can_be_used_once(page: LoginPage) -> None:
    assert follow(page.link)[0] == 303
    status, headers, text = follow(page.link)
    assert (status, headers["set-cookie"]) == (404, None)
    assert "`anabranch dashboard`" in text
    assert follow(page.link.rpartition("/")[0] + "/")[0] == 404  # nothing is no code either


def test_another_code_is_refused_and_does_not_use_it_up(page: LoginPage) -> None:
    assert follow(page.link + "x")[0] == 404
    assert not page.used.is_set()
    assert follow(page.link)[0] == 303


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_browser_without_the_name_stays_at_the_host_that_it_knows(
    page: LoginPage, host: str
) -> None:
    found = follow(page.link, f"{host}:{urlsplit(page.link).port}")[1]
    assert found["location"] == f"http://{host}:8265/"


def test_no_host_leads_elsewhere(page: LoginPage) -> None:
    assert follow(page.link, "evil.example:80")[1]["location"] == f"http://{NAME}:8265/"


def test_a_dashboard_for_other_machines_has_its_own_address() -> None:
    # TEST-NET-1 of RFC 5737 would be no address of this machine
    with pytest.raises(OSError, match="assign"):
        LoginPage("http://192.0.2.1:8265", TOKEN, STATE.id)


def test_nobody_who_comes_is_an_error(page: LoginPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "_WITHIN_S", 0.0)
    with pytest.raises(EngineError, match="no browser has opened the link within 0 minutes"):
        page.wait()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_state(tmp_path, STATE)
    (tmp_path / RAY_TOKEN_FILE).write_text(f"{TOKEN}\n")
    return tmp_path


def test_the_browser_is_called_with_a_file_that_nobody_else_reads(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: SimpleQueue[tuple[str, int]] = SimpleQueue()

    def browse(url: str) -> bool:
        file = Path(urlsplit(url).path)
        _, _, link = file.read_text().partition("url=")
        opened.put((url, stat.S_IMODE(file.stat().st_mode)))
        return follow(link.partition('"')[0])[0] == 303

    monkeypatch.setattr(webbrowser, "open", browse)
    done = CliRunner().invoke(app, ["dashboard", "--home", str(home)])
    assert done.exit_code == 0, done.output
    url, mode = opened.get(timeout=10)
    assert url.startswith("file://") and mode == 0o600
    assert not Path(urlsplit(url).path).exists()
    assert TOKEN not in done.output and f"logged in to http://{NAME}:8265" in done.output


def test_where_there_is_no_browser_the_link_is_printed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(dashboard, "result", printed.put)
    followed = Thread(target=lambda: follow(printed.get(timeout=20)))
    followed.start()
    done = CliRunner().invoke(app, ["dashboard", "--home", str(home), "--print"])
    followed.join()
    assert done.exit_code == 0, done.output


def test_the_dashboard_of_a_ray_of_somebody_else_is_named(home: Path) -> None:
    write_state(home, replace(STATE, attached=True))
    done = CliRunner().invoke(app, ["dashboard", "--home", str(home)])
    assert isinstance(done.exception, EngineError)
    assert str(done.exception).endswith(f"the dashboard of that: it is at {STATE.dashboard}")


def test_without_the_token_the_error_names_its_file(home: Path) -> None:
    (home / RAY_TOKEN_FILE).unlink()
    done = CliRunner().invoke(app, ["dashboard", "--home", str(home)])
    assert isinstance(done.exception, EngineError)
    assert str(home / RAY_TOKEN_FILE) in str(done.exception)
