"""Which engine a client talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.client.connection.session import connect
from anabranch.errors import EngineError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    return tmp_path


def running(home: Path) -> None:
    write_state(
        home,
        EngineState(
            "e", "http://127.0.0.1:7", "127.0.0.1:8", "", "127.0.0.1:9", str(home), ready=True
        ),
    )
    (home / "token").write_text("secret\n")


def test_without_a_url_it_is_the_home_s_engine_with_its_token(home: Path) -> None:
    running(home)
    session = connect(None, None)
    assert (session.url, session.token, session.home) == ("http://127.0.0.1:7", "secret", home)


def test_a_given_token_is_taken_instead(home: Path) -> None:
    running(home)
    (home / "token").unlink()
    assert connect(None, "other").token == "other"
    with pytest.raises(EngineError, match="cannot read the engine's token"):
        connect(None, None)


def test_a_home_without_an_engine_says_how_to_start_one(home: Path) -> None:
    with pytest.raises(EngineError, match="start one with `anabranch up`"):
        connect(None, None)


def test_with_a_url_no_home_is_asked_and_no_token_is_taken(home: Path) -> None:
    running(home)
    session = connect("http://engine:8000/", None)
    assert (session.url, session.token) == ("http://engine:8000", None)


@pytest.mark.parametrize(("given", "token"), [("secret\n", "secret"), ("", None), (" ", None)])
def test_space_around_a_token_is_no_part_of_it(home: Path, given: str, token: str | None) -> None:
    assert connect("http://engine", given).token == token
