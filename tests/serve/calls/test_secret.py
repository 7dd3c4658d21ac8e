"""The secret of calls between replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import EngineError
from anabranch.serve.calls.secret import OWN, TOKEN, call_secret


def secret(monkeypatch: pytest.MonkeyPatch, path: Path, token: bytes) -> bytes:
    path.write_bytes(token)
    monkeypatch.setenv(TOKEN, str(path))
    return call_secret()


def test_it_is_that_of_the_token_and_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = b"0123456789abcdef" * 4
    one = secret(monkeypatch, tmp_path / "a", token)
    assert one == secret(monkeypatch, tmp_path / "b", token + b"\n")
    assert one != secret(monkeypatch, tmp_path / "c", token[:-1])
    assert len(one) == 32 and one not in token


@pytest.mark.parametrize("content", [None, b"", b" \n"])
def test_without_a_token_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(TOKEN, str(path))
    with pytest.raises(EngineError, match=TOKEN):
        call_secret()
    monkeypatch.delenv(TOKEN)
    with pytest.raises(EngineError, match=TOKEN):
        call_secret()


def test_on_a_ray_of_somebody_else_the_engine_has_a_token_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_ray = secret(monkeypatch, tmp_path / "ray", b"of ray")
    (tmp_path / "own").write_bytes(b"own")
    monkeypatch.setenv(OWN, str(tmp_path / "own"))
    assert call_secret() not in (of_ray, b"own")
    monkeypatch.setenv(OWN, str(tmp_path / "missing"))
    with pytest.raises(EngineError, match=OWN):
        call_secret()
