from __future__ import annotations

import stat
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, clear_state, write_state
from anabranch.control.engine.backup import backup, restore
from anabranch.control.release.bundles import BundleStore
from anabranch.control.store.store import Store
from anabranch.errors import EngineError
from tests.control.postgres import Server


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


def test_postgresql_is_copied_with_the_bundles(
    postgres: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(home, tmp_path / "a.zip")
    with postgres.database() as url:
        monkeypatch.setenv("ANABRANCH_STORE", url)
        monkeypatch.setenv("ANABRANCH_BUNDLE_STORE", (tmp_path / "store").as_uri())
        digest = BundleStore(tmp_path / "x", (tmp_path / "store").as_uri()).put({"a": b"a"})
        assert restore(home, tmp_path / "a.zip", warn=pytest.fail).graphs == ("digits",)
        with pytest.raises(EngineError, match=r"the store has graphs \(digits, …\)"):
            restore(home, tmp_path / "a.zip", warn=pytest.fail)
        store = Store.open(url)
        store.ensure_revision("iris", "spec", digest)
        store.close()
        made = backup(home, tmp_path / "b.zip")
        assert (made.graphs, made.bundles) == (("digits", "iris"), 1)
        restore(home, tmp_path / "a.zip", replace=True, warn=pytest.fail)
    # From PostgreSQL to a file, and a bundle that only the store had.
    monkeypatch.delenv("ANABRANCH_STORE")
    monkeypatch.delenv("ANABRANCH_BUNDLE_STORE")
    restored = restore(tmp_path / "new", tmp_path / "b.zip", warn=pytest.fail)
    assert restored.graphs == ("digits", "iris")
    assert BundleStore(tmp_path / "new" / "bundles").read(digest, "a") == b"a"


def test_a_database_that_does_not_answer_tells_no_password(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(home, tmp_path / "a.zip")
    monkeypatch.setenv("ANABRANCH_STORE", "postgresql://ada:secret@127.0.0.1:1/x")
    for act in (
        lambda: backup(home, tmp_path / "b.zip"),
        lambda: restore(home, tmp_path / "a.zip", warn=pytest.fail),
    ):
        with pytest.raises(EngineError, match="cannot open the store: ") as caught:
            act()
        assert "secret" not in str(caught.value)
