"""``anabranch login`` and ``logout`` against the real control API."""

from __future__ import annotations

import pytest

from anabranch.client.connection.login import FILE, TOKEN
from anabranch.errors import EngineError
from tests.cli.conftest import Served


@pytest.fixture
def key(engine: Served) -> str:
    return engine.text("keys", "create", "ada", "--role", "viewer").strip()


def test_a_login_is_honoured_until_the_logout(engine: Served, key: str) -> None:
    done = engine.run("login", answers=f"{key}\n")
    assert done.stdout.startswith("logged in as key ada: viewer on *, ")
    assert key not in done.output
    assert (engine.home / FILE).stat().st_mode & 0o777 == 0o600
    assert engine.json("access", "me")["name"] == "ada"
    with pytest.raises(EngineError, match="key 'ada' may not administer"):
        engine.text("keys")
    assert engine.text("logout") == "logged out\n"
    assert engine.json("access", "me")["kind"] == "token"
    assert engine.text("logout").startswith("there was no login in ")


def test_a_key_that_is_not_known_is_not_kept(engine: Served) -> None:
    done = engine.run("login", answers="wrong\n")
    assert isinstance(done.exception, EngineError)
    assert "this key is not known, or was revoked" in str(done.exception)
    assert not (engine.home / FILE).exists()


@pytest.mark.parametrize("typed", ["", "two words", "\u20ac"])
def test_what_is_no_key_is_said_to_be_none(engine: Served, typed: str) -> None:
    done = engine.run("login", answers=typed)
    assert isinstance(done.exception, EngineError)
    assert not (engine.home / FILE).exists()


def test_the_variable_comes_first(
    engine: Served, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, key)
    assert engine.json("access", "me")["name"] == "ada"
    monkeypatch.setenv(TOKEN, "wrong")
    with pytest.raises(EngineError, match="not known, or was revoked"):
        engine.text("access", "me")
