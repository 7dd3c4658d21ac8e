from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.store.soundness import fold, graphs_in, log_of, require_sound
from anabranch.control.store.store import Store
from anabranch.errors import AnabranchError, EngineError
from tests.control.stores import new_store


def opened(folder: Path) -> Store:
    return new_store(f"sqlite:///{folder / 'store.db'}")


def killed(folder: Path, copy: Path, graphs: int = 3) -> Path:
    """A store as a killed engine leaves it: nearly all of it is in the log."""
    store = opened(folder)
    for number in range(graphs):
        store.ensure_revision(f"g{number}", "kind: InferenceGraph\n" * 20, "d")
    shutil.copytree(folder, copy)
    store.close()
    assert log_of(copy / "store.db").stat().st_size > 0
    return copy / "store.db"


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_store_that_was_killed_or_closed_or_never_was_is_sound(tmp_path: Path) -> None:
    path = killed(tmp_path / "a", tmp_path / "b")
    for sound in (path, tmp_path / "a" / "store.db", tmp_path / "none.db"):
        assert require_sound(sound) == []
    assert (graphs_in(path), graphs_in(tmp_path / "none.db")) == (3, 0)
    (tmp_path / "empty.db").touch()
    assert (require_sound(tmp_path / "empty.db"), graphs_in(tmp_path / "empty.db")) == ([], 0)


def test_a_flipped_bit_at_the_head_of_the_log_is_named_with_the_way_back(tmp_path: Path) -> None:
    path = killed(tmp_path / "a", tmp_path / "b")
    flip(log_of(path), 9)
    with pytest.raises(EngineError) as caught:
        require_sound(path)
    for words in (str(path), "header of its write-ahead log", "anabranch restore FILE"):
        assert words in str(caught.value)
    # It has touched nothing: the bit flipped back, all is there.
    flip(log_of(path), 9)
    assert (require_sound(path), graphs_in(path)) == ([], 3)


def test_changes_that_the_log_has_lost_are_a_warning(tmp_path: Path) -> None:
    path = killed(tmp_path / "a", tmp_path / "b")
    log = log_of(path)
    flip(log, 8 * (log.stat().st_size // 2))
    (warning,) = require_sound(path)
    assert "at the end of" in warning and str(log) in warning and "restore" in warning


def test_a_log_without_its_file(tmp_path: Path) -> None:
    path = killed(tmp_path / "a", tmp_path / "b")
    path.unlink()
    with pytest.raises(EngineError, match=r"store.db is damaged: it is missing beside .*store.db-"):
        require_sound(path)


@pytest.mark.parametrize("left", [1, 100, 4096, 20_000])
def test_a_file_that_was_cut(tmp_path: Path, left: int) -> None:
    opened(tmp_path).close()
    os.truncate(tmp_path / "store.db", left)
    with pytest.raises(EngineError, match=r"store.db is damaged: .*anabranch restore FILE"):
        require_sound(tmp_path / "store.db")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed")
    store = opened(folder)
    for number in range(3):
        store.ensure_revision(f"g{number}", "kind: InferenceGraph\n" * 20, "d")
    store.close()
    return folder / "store.db"


@given(bit=st.integers(0, 8 * 2**18))
def test_whatever_bit_is_flipped_a_store_never_seems_empty(
    closed: Path, tmp_path_factory: pytest.TempPathFactory, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "store.db"
    path.write_bytes(closed.read_bytes())
    flip(path, bit)
    with suppress(AnabranchError):
        require_sound(path)
        store = opened(path.parent)
        try:
            assert len(store.situations()) == 3
        finally:
            store.close()


def test_all_of_the_log_is_folded_into_the_file(tmp_path: Path) -> None:
    path = killed(tmp_path / "a", tmp_path / "b")
    fold(path)
    assert not log_of(path).exists()
    alone = shutil.copy(path, tmp_path / "alone.db")
    assert graphs_in(Path(alone)) == 3
    fold(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_store_that_another_has_locked_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.control.store.soundness._TIMEOUT_S", 0.01)
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE more (x)")
        with pytest.raises(EngineError, match=r"^cannot open the store .*locked"):
            require_sound(tmp_path / "store.db")
