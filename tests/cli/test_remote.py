"""Options before the command, which say what engine it is for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anabranch.cli.remote import CA, TOKEN, URL, chosen, key_in, own_home
from anabranch.errors import EngineError
from tests.cli.conftest import Served


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL, TOKEN, CA):
        monkeypatch.delenv(name, raising=False)


def test_the_options_hold_for_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "before")
    (tmp_path / "key").write_text(" key\n")
    (tmp_path / "key").chmod(0o600)
    with chosen("http://there:8000", tmp_path / "key", None):
        assert (os.environ[URL], os.environ[TOKEN]) == ("http://there:8000", "key")
    assert URL not in os.environ
    assert os.environ[TOKEN] == "before"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff", "cannot read a key")],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
    with (
        pytest.raises(EngineError, match=said),
        chosen("", tmp_path / "key", None),
    ):
        pass


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(EngineError, match=r"others may read it \(mode 0640\): `chmod 600 "):
        key_in(tmp_path / "key")


def test_a_command_asks_the_engine_at_the_url(engine: Served, tmp_path: Path) -> None:
    port = engine.server.server_address[1]
    there = ["--url", f"http://127.0.0.1:{port}/", "--token-file", str(engine.home / "token")]
    (engine.home / "token").chmod(0o600)
    none = ["--home", str(tmp_path / "none")]
    assert engine.json(*there, "access", "me", *none)["kind"] == "token"
    without = engine.run("--url", there[1], "status", *none)
    assert "takes a key" in str(without.exception)
    (engine.home / "engine.json").unlink()
    assert engine.json(*there, "status")["graphs"] == []


@pytest.mark.parametrize("command", ["up", "down", "doctor", "backup", "leave"])
def test_what_works_on_the_engine_s_machine_alone_says_so(engine: Served, command: str) -> None:
    done = engine.run("--url", "http://there:8000", command)
    assert done.exit_code == 2
    assert "the engine's own machine only" in done.output.replace("\n", " ")
    assert "http://there:8000" in done.output


def test_a_home_of_this_machine_is_there_without_a_url(tmp_path: Path) -> None:
    assert own_home(tmp_path) == tmp_path
