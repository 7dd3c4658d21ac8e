from __future__ import annotations

import stat
from pathlib import Path

import pytest

from anabranch.control.engine.tokens import ensure_token
from anabranch.errors import EngineError, StorageError
from tests.disks import fill, small_disk


def test_a_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "token"
    token = ensure_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert ensure_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(EngineError, match="is empty"):
        ensure_token(tmp_path / "token")


def test_a_full_disk_leaves_no_token_that_is_empty(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", 64 * 1024) as home:
        ballast = fill(home)
        with pytest.raises(StorageError, match=r"home does not take token: .* 0 are free"):
            ensure_token(home / "token")
        assert not (home / "token").exists()
        ballast.unlink()
        assert ensure_token(home / "token") == ensure_token(home / "token")
