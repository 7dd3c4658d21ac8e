from __future__ import annotations

import os
import shutil
import stat
import subprocess
import uuid
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.engine import home as homes
from anabranch.control.engine.engine import down
from anabranch.control.engine.flags import MARK
from anabranch.control.engine.home import (
    examine_store,
    fold_store,
    locked,
    open_home,
    store_file,
)
from anabranch.control.release.bundles import BundleStore
from anabranch.control.store.soundness import log_of
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, StorageError
from tests.disks import read_only, small_disk


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def no_store_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANABRANCH_STORE", raising=False)


def killed(folder: Path) -> Path:
    """A home as a killed engine leaves it, with a bundle, and a graph that is in the log alone."""
    live = folder / "live"
    BundleStore(live / "bundles").put({"graph.yaml": b"x"})
    store = Store.open(f"sqlite:///{live / 'store.db'}")
    store.ensure_revision("digits", "spec", "d")
    shutil.copytree(live, folder / "home")
    store.close()
    return folder / "home"


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_home_that_others_could_read_is_its_owner_s_alone(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    warnings: list[str] = []
    open_home(home, warnings.append)
    assert (mode_of(home), warnings) == (0o700, [])


@pytest.mark.parametrize("mode", [0o700, 0o500])
def test_a_private_home_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    open_home(home, pytest.fail)
    assert mode_of(home) == mode


def test_a_new_home_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_home(tmp_path / "deep" / "home", pytest.fail)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "deep" / "home") == 0o700


def test_a_home_whose_mode_cannot_be_set_is_said(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", 64 * 1024) as home:
        home.chmod(0o755)
        read_only(home)
        warnings: list[str] = []
        open_home(home, warnings.append)
        assert warnings == [
            f"the home {home} has mode 755 and others may read its store and bundles:"
            " it cannot be set to 700: Read-only file system"
        ]
        with (
            pytest.raises(StorageError, match=r"home does not take engine\.lock: Read-only"),
            locked(home),
        ):
            pass
        with pytest.raises(StorageError, match="home does not take new: Read-only"):
            open_home(home / "new", warnings.append)


def test_an_engine_whose_disk_became_read_only_can_be_stopped(tmp_path: Path) -> None:
    """The lock is held as ever, and what cannot be cleared away is said."""
    with small_disk(tmp_path / "home", 64 * 1024) as home:
        with locked(home):
            pass
        id = uuid.uuid4().hex
        state = EngineState(id, "", "", "", "127.0.0.1:20000", str(tmp_path / "gone"), ready=True)
        write_state(home, state)
        child = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: id})
        try:
            read_only(home)
            with pytest.raises(StorageError, match=r"home does not take engine\.json: Read-only"):
                down(home)
            assert child.wait(60) != 0
        finally:
            child.kill()
            child.wait()


def test_one_command_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "LOCK_TIMEOUT_S", 0.05)
    with locked(tmp_path), pytest.raises(EngineError, match="is at work in"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_new_home_and_one_with_graphs_are_no_news(tmp_path: Path) -> None:
    examine_store(tmp_path / "new", pytest.fail)
    examine_store(killed(tmp_path), pytest.fail)


@pytest.mark.parametrize("left", ["no file", "an empty file", "the file without its log"])
def test_a_home_with_bundles_and_without_graphs_is_suspicious(tmp_path: Path, left: str) -> None:
    home = killed(tmp_path)
    log_of(home / "store.db").unlink()
    if left == "no file":
        (home / "store.db").unlink()
    if left == "an empty file":
        (home / "store.db").write_bytes(b"")
    warnings: list[str] = []
    examine_store(home, warnings.append)
    (warning,) = warnings
    there = "is missing" if left == "no file" else "has no graphs"
    for words in (
        f"the store {home / 'store.db'} {there}",
        f"{home / 'bundles'} has bundles of graphs that were deployed (1)",
        "anabranch restore FILE",
    ):
        assert words in warning


def test_a_damaged_store_stops_the_start_and_stays_as_it_is(tmp_path: Path) -> None:
    home = killed(tmp_path)
    log = log_of(home / "store.db")
    data = bytearray(log.read_bytes())
    data[12] ^= 4
    log.write_bytes(data)
    fold_store(home)
    assert log.read_bytes() == data
    with pytest.raises(EngineError, match=r"store\.db is damaged: .*restore FILE"):
        examine_store(home, pytest.fail)


def test_a_store_that_is_folded_is_in_one_file(tmp_path: Path) -> None:
    home = killed(tmp_path)
    fold_store(home)
    assert not log_of(home / "store.db").exists()
    examine_store(home, pytest.fail)
    fold_store(tmp_path / "no home")


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////data/a.db", Path("/data/a.db")),
        ("sqlite:///a.db", Path("/home/a.db")),
        ("sqlite://", None),
        ("postgresql://ada@host/x", None),
        ("nonsense", None),
    ],
)
def test_the_store_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, url: str, file: Path | None
) -> None:
    monkeypatch.setenv("ANABRANCH_STORE", url)
    assert store_file(Path("/home")) == file
    examine_store(Path("/home"), pytest.fail)
