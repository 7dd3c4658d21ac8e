"""Which files of certificates an engine is told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.settings.settings import Settings
from anabranch.control.settings.tls import in_force, tls_environment, tls_files
from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import TlsFiles

CERT, KEY, CA = "ANABRANCH_TLS_CERT", "ANABRANCH_TLS_KEY", "ANABRANCH_CLIENT_CA"


def test_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tls_files({CERT: "", KEY: ""}) is None
    both = TlsFiles(tmp_path / "a.pem", tmp_path / "a.key")
    assert tls_files({CERT: "a.pem", KEY: str(tmp_path / "a.key")}) == both
    every = tls_files({CERT: "a.pem", KEY: "a.key", CA: "ca.pem"})
    assert every == TlsFiles(both.cert, both.key, tmp_path / "ca.pem")
    for files in (None, both, every):
        assert tls_files(tls_environment(files)) == files
        assert in_force(tmp_path, files).verifies is (files is every)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({CERT}, r"--tls-cert \(or ANABRANCH_TLS_CERT\) needs --tls-key \(or ANABRANCH_TLS_KEY\)"),
        ({KEY}, "--tls-key .* needs --tls-cert"),
        ({CA}, "--client-ca .* needs --tls-cert .* and --tls-key"),
        ({CERT, CA}, "--tls-cert .* needs --tls-key"),
    ],
)
def test_a_part(given: set[str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        tls_files(dict.fromkeys(given, "x"))


def test_clients_speak_tls_then(tmp_path: Path) -> None:
    env = {"ANABRANCH_HOME": str(tmp_path), CERT: "a.pem", KEY: "a.key"}
    assert Settings.from_env(env).url == "https://127.0.0.1:8000"
