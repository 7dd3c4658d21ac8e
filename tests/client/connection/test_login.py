"""Which key a command or a client shows, and to which engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.client.connection.login import (
    FILE,
    TOKEN,
    Login,
    destination,
    key_for,
    read_login,
    remove_login,
    write_login,
)
from anabranch.client.connection.session import connect
from anabranch.errors import EngineError

URL = "http://127.0.0.1:7"
REMOTE = Login("http://remote:8000", "remote-key")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an engine that is up."""
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    write_state(tmp_path, EngineState("e", URL, "", "", "", "", ready=True))
    (tmp_path / "token").write_text("own\n")
    return tmp_path


@pytest.mark.parametrize(
    ("login", "variable", "found"),
    [
        (None, "", (URL, "own")),
        (None, " key\n", (URL, "key")),
        (Login("", "mine"), "", (URL, "mine")),
        (Login("", "mine"), "key", (URL, "key")),
        (REMOTE, "", ("http://remote:8000", "remote-key")),
        (REMOTE, "key", ("http://remote:8000", "key")),
    ],
)
def test_the_variable_comes_before_the_login_and_that_before_the_token(
    home: Path, login: Login | None, variable: str, found: tuple[str, str]
) -> None:
    if login is not None:
        write_login(home, login)
    assert destination(home, {TOKEN: variable})[:2] == found


def test_a_login_elsewhere_needs_no_engine_here(home: Path) -> None:
    (home / "engine.json").unlink()
    write_login(home, Login("", "mine"))
    with pytest.raises(EngineError, match="no engine is running"):
        destination(home, {})
    write_login(home, REMOTE)
    assert destination(home, {}) == (REMOTE.url, REMOTE.key, False)


def test_the_variable_of_the_url_comes_before_the_login(home: Path) -> None:
    there = {"ANABRANCH_URL": " https://other:8000/\n"}
    assert destination(home, there)[:2] == ("https://other:8000", None)
    assert destination(home, {**there, TOKEN: "key"})[:2] == ("https://other:8000", "key")
    write_login(home, REMOTE)
    assert destination(home, there).key is None
    assert destination(home, {"ANABRANCH_URL": f"{REMOTE.url}/"})[:2] == (REMOTE.url, REMOTE.key)


def test_a_key_goes_to_no_engine_but_its_own(home: Path) -> None:
    assert key_for("http://other:8000", home, {}) is None
    write_login(home, REMOTE)
    assert key_for("http://other:8000", home, {}) is None
    assert key_for(REMOTE.url, home, {}) == REMOTE.key
    assert key_for("http://other:8000", home, {TOKEN: "key"}) == "key"


def test_clients_honour_both(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_login(home, REMOTE)
    assert (connect(None, None).url, connect(None, None).token) == (REMOTE.url, REMOTE.key)
    assert connect(f"{REMOTE.url}/", None).token == REMOTE.key
    assert connect(None, "given").token == "given"
    monkeypatch.setenv(TOKEN, "key")
    assert connect(None, None).token == connect("http://other", None).token == "key"
    assert connect("http://other", "given").token == "given"
    monkeypatch.setenv("ANABRANCH_URL", "http://third")
    assert (connect(None, None).url, connect(None, None).token) == ("http://third", "key")
    assert (connect(None, "given").url, connect(None, "given").token) == ("http://third", "given")


def test_the_file_is_its_owner_s_alone(home: Path) -> None:
    write_login(home, REMOTE)
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    assert read_login(home) == REMOTE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_file_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    write_login(home, REMOTE)
    (home / FILE).chmod(mode)
    with pytest.raises(EngineError, match=rf"others may read it \(mode {mode:04o}\): `chmod 600 "):
        destination(home, {})
    with pytest.raises(EngineError, match="others may read it"):
        connect(REMOTE.url, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": "x"}', '{"url": "x", "kee": "y"}'])
def test_a_damaged_file_is_named(home: Path, text: str) -> None:
    write_login(home, REMOTE)
    (home / FILE).write_text(text)
    with pytest.raises(EngineError, match=r"login\.json cannot be read as a login"):
        read_login(home)


def test_a_login_is_forgotten(home: Path) -> None:
    assert not remove_login(home)
    write_login(home, REMOTE)
    assert remove_login(home) and read_login(home) is None


def test_a_home_that_is_not_there_is_made_for_its_owner(tmp_path: Path) -> None:
    write_login(tmp_path / "new", REMOTE)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
