"""What an engine is started with, and what is said to whoever starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine.launch import EngineOptions, environment
from anabranch.control.engine.ports import PortBlock, claim
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import TlsFiles

CERT, KEY, CA = "ANABRANCH_TLS_CERT", "ANABRANCH_TLS_KEY", "ANABRANCH_CLIENT_CA"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CERT, KEY, CA, "ANABRANCH_ANONYMOUS", "ANABRANCH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def block() -> PortBlock:
    found = claim("launch")
    found.guard.close()
    return found


def environment_of(home: Path, options: EngineOptions, block: PortBlock) -> dict[str, str]:
    state = EngineState("id", "", "", "", "127.0.0.1:13001", str(home))
    return environment(home, options, state, block, lambda text: None)


def test_options_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EngineOptions().tls() is None
    monkeypatch.setenv(CERT, "/c")
    monkeypatch.setenv(KEY, "/k")
    assert EngineOptions().tls() == TlsFiles(Path("/c"), Path("/k"))
    other = EngineOptions(tls_key=Path("/other"), client_ca=Path("/ca"))
    assert other.tls() == TlsFiles(Path("/c"), Path("/other"), Path("/ca"))


def test_the_engine_s_processes_are_told(tmp_path: Path, block: PortBlock) -> None:
    found = environment_of(tmp_path, EngineOptions(), block)
    assert (found[CERT], found[KEY], found[CA]) == ("", "", "")
    options = EngineOptions(tls_cert=Path("/c"), tls_key=Path("/k"))
    found = environment_of(tmp_path, options, block)
    assert (found[CERT], found[KEY], found[CA]) == ("/c", "/k", "")


@pytest.mark.parametrize("does_run", [True, False])
def test_without_an_haproxy_for_it_there_is_no_tls(
    tmp_path: Path, block: PortBlock, monkeypatch: pytest.MonkeyPatch, does_run: bool
) -> None:
    """The gateway and the front, which would take its place, do not speak it."""
    binary = tmp_path / "haproxy"
    said = "HAProxy version 2.8.0\n+LUA -OPENSSL +ZLIB"
    binary.write_text(f"#!/bin/sh\necho '{said}'\nexit {int(not does_run)}\n")
    binary.chmod(0o700)
    monkeypatch.setenv("ANABRANCH_HAPROXY", str(binary))
    options = EngineOptions(tls_cert=Path("/c"), tls_key=Path("/k"))
    reason = "is built without OpenSSL" if does_run else "exits with 1"
    with pytest.raises(EngineError, match=f"TLS needs HAProxy, which cannot run here: .*{reason}"):
        environment_of(tmp_path, options, block)
    found = environment_of(tmp_path, EngineOptions(), block)
    assert bool(found["ANABRANCH_EDGE"]) is does_run


def started(home: Path, block: PortBlock, host: str, anonymous: str) -> tuple[dict[str, str], str]:
    """The environment of an engine, and all that is said."""
    said: list[str] = []
    state = EngineState("id", "", "", "", "", str(home))
    options = EngineOptions(http_host=host, anonymous=anonymous)
    return environment(home, options, state, block, said.append), "\n".join(said)


@pytest.mark.parametrize(
    ("host", "anonymous", "roles", "said"),
    [
        ("127.0.0.1", "", ("invoker", "feedback"), ""),
        ("127.0.0.1", "none", (), ""),
        ("0.0.0.0", "", (), "callers need keys there: `anabranch keys create NAME"),
        ("0.0.0.0", "none", (), "callers need keys there"),
        (
            "0.0.0.0",
            "invoker",
            ("invoker",),
            "whoever reaches the engine there has the roles invoker",
        ),
    ],
)
def test_who_may_ask_without_a_key(
    tmp_path: Path,
    block: PortBlock,
    host: str,
    anonymous: str,
    roles: tuple[str, ...],
    said: str,
) -> None:
    env, told = started(tmp_path, block, host, anonymous)
    assert Settings.from_env(env).anonymous == roles
    assert said in told and (said or "key" not in told)


def test_the_key_of_whoever_starts_an_engine_is_not_given_to_its_components(
    tmp_path: Path, block: PortBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_TOKEN", "secret")
    env, _ = started(tmp_path, block, "127.0.0.1", "")
    assert "ANABRANCH_TOKEN" not in env
