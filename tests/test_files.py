from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from anabranch import files
from anabranch.errors import EngineError, StorageError, Unavailable
from anabranch.files import free_bytes, replace_file, replacing, require_room
from tests.disks import fill, names, read_only, small_disk


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("content", [b"new\xff", "new é"])
def test_a_file_is_replaced_whole(tmp_path: Path, content: bytes | str, durable: bool) -> None:
    path = tmp_path / "state.json"
    path.write_text("something longer than what comes")
    replace_file(path, content, durable=durable)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "f", b"", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode & ~0o027


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with replacing(path) as draft:
        draft.write(b"half")
        draft.flush()
        assert path.read_bytes() == b"old"
        draft.write(b" and half")
    assert path.read_bytes() == b"half and half"


def test_what_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:
        draft.write(b"half")
        raise KeyboardInterrupt
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["f"])


def test_all_bytes_are_with_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        assert (tmp_path / "f").exists() == (len(synced) == 2)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "f", b"x")
    assert synced[0].startswith(".f.") and synced[1] == tmp_path.name


def test_a_full_disk_is_named_with_what_is_needed_and_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        replace_file(disk / "f", b"old")
        ballast = fill(disk)
        with pytest.raises(StorageError) as caught:
            replace_file(disk / "f", bytes(20_000))
        assert str(caught.value) == (
            f"{disk} does not take f: No space left on device; 20,000 bytes are needed, 0 are free"
        )
        assert ((disk / "f").read_bytes(), names(disk)) == (b"old", ["ballast", "f"])
        ballast.unlink()
        replace_file(disk / "f", bytes(20_000))
        assert (disk / "f").stat().st_size == 20_000


def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        read_only(disk)
        with pytest.raises(StorageError, match="disk does not take f: Read-only file system"):
            replace_file(disk / "f", b"x")
        with pytest.raises(StorageError, match="disk cannot be written to: it is read-only"):
            require_room(disk / "not" / "there", 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_folder_without_room_also_by_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"; 5 bytes are needed, [1-9][0-9,]* are free"):
        replace_file(tmp_path / "f", b"12345")
    assert names(tmp_path) == []


def test_room_is_required_where_a_folder_is_yet_to_be_made(tmp_path: Path) -> None:
    folder, free = tmp_path / "bundles" / "x", free_bytes(tmp_path)
    require_room(folder, free // 2)
    with pytest.raises(StorageError, match=f"{folder} is too full: .* bytes are needed, .* free"):
        require_room(folder, 2 * free)
    assert names(tmp_path) == []


def test_clients_try_again_and_commands_know_it_as_an_error_of_the_engine() -> None:
    assert issubclass(StorageError, Unavailable) and issubclass(StorageError, EngineError)
