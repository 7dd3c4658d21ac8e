from __future__ import annotations

import stat
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, clear_state, write_state
from anabranch.control.engine.backup import backup, restore
from anabranch.control.store.store import Store
from anabranch.errors import EngineError


@pytest.fixture(autouse=True)
def no_store_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANABRANCH_STORE", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store = Store.open(f"sqlite:///{tmp_path / 'home' / 'store.db'}")
    store.ensure_revision("digits", "spec", "d")
    store.close()
    return tmp_path / "home"


def test_a_home_is_copied_while_its_engine_runs_and_restored_when_none_does(
    home: Path, tmp_path: Path
) -> None:
    write_state(home, EngineState("id", "http", "grpc", "dashboard", "127.0.0.1:1", "/none"))
    assert backup(home, tmp_path / "b.zip").graphs == ("digits",)
    with pytest.raises(EngineError, match=r"an engine runs in .*: stop it .* `anabranch down`"):
        restore(home, tmp_path / "b.zip", replace=True, warn=pytest.fail)
    clear_state(home)
    restored = restore(home, tmp_path / "b.zip", replace=True, warn=pytest.fail)
    assert restored.graphs == ("digits",)


def test_a_new_home_is_private(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "b.zip")
    restore(tmp_path / "new", tmp_path / "b.zip", warn=pytest.fail)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_postgresql_has_tools_of_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_STORE", "postgresql://ada:secret@host/x")
    for act in (
        lambda: backup(home, tmp_path / "b.zip"),
        lambda: restore(home, tmp_path / "b.zip", warn=pytest.fail),
    ):
        with pytest.raises(EngineError, match=r"pg_dump and pg_restore .*bundles") as caught:
            act()
        assert "secret" not in str(caught.value)
