from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.control.engine.flags import LONGEST_FOLDER
from anabranch.control.engine.runtime import (
    PREFIX,
    RAY,
    TEMPORARY,
    make_runtime,
    remove_runtime,
)
from anabranch.errors import StorageError
from anabranch.serve.sockets import SOCKETS
from tests.disks import names, read_only, small_disk


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a runtime folder, and for sockets in that."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        yield Path(folder)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leave_something_in(runtime: Path) -> None:
    """What killed processes leave: folders of pools and of Python's multiprocessing, sessions."""
    for folder in (runtime / TEMPORARY / "pymp-x", runtime / RAY / "session", runtime / SOCKETS):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "left").write_text("x")


@pytest.mark.parametrize("fits", [True, False], ids=["short", "long"])
def test_all_of_it_is_gone_in_the_end(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    base = short if fits else tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    runtime = make_runtime()
    assert len(str(runtime)) <= LONGEST_FOLDER
    assert (runtime / TEMPORARY).resolve().is_relative_to(base.resolve())
    assert {mode_of(runtime / part) for part in ("", SOCKETS, TEMPORARY)} == {0o700}
    leave_something_in(runtime)
    remove_runtime(runtime)
    assert not runtime.exists()
    assert names(base) == []


def test_a_folder_of_another_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    remove_runtime(tmp_path)
    assert names(tmp_path) == ["t"]


def test_a_temporary_folder_that_takes_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        read_only(disk)
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        message = f"{disk} does not take {PREFIX}"
        with pytest.raises(StorageError, match=f"{message}: Read-only file system$"):
            make_runtime()
