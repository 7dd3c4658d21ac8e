"""What an engine is started with, and what it is not started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.engine_state import EngineState
from anabranch.control.engine.launch import EngineOptions, environment
from anabranch.control.engine.ports import PortBlock, claim
from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import TlsFiles

CERT, KEY, CA = "ANABRANCH_TLS_CERT", "ANABRANCH_TLS_KEY", "ANABRANCH_CLIENT_CA"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CERT, KEY, CA):
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
    binary.write_text(f"#!/bin/sh\necho '+LUA -OPENSSL +ZLIB'\nexit {int(not does_run)}\n")
    binary.chmod(0o700)
    monkeypatch.setenv("ANABRANCH_HAPROXY", str(binary))
    options = EngineOptions(tls_cert=Path("/c"), tls_key=Path("/k"))
    reason = "is built without OpenSSL" if does_run else "exits with 1"
    with pytest.raises(EngineError, match=f"TLS needs HAProxy, which cannot run here: .*{reason}"):
        environment_of(tmp_path, options, block)
    found = environment_of(tmp_path, EngineOptions(), block)
    assert bool(found["ANABRANCH_EDGE"]) is does_run
