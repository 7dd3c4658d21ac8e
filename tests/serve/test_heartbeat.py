"""The files of pulses, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.pulse import SIZE
from anabranch.serve.heartbeat import FOLDER, HUNG, PulseFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    folder.mkdir()
    return folder


def test_a_name_tells_the_process_its_start_and_how_it_ended(folder: Path) -> None:
    for name in ("12-345", "6-78.hung", ".9-1", "9-", "notes", "1-2.hung.hung"):
        (folder / name).touch()
    found = sorted(PulseFile.all_in(folder.parent))
    assert found == [
        PulseFile(folder / "12-345", 12, "345", ""),
        PulseFile(folder / "6-78.hung", 6, "78", HUNG),
    ]


def test_a_file_that_was_marked_is_found_as_hung(folder: Path) -> None:
    (folder / "12-345").write_bytes(bytes(SIZE))
    (pulse,) = PulseFile.all_in(folder.parent)
    pulse.mark_ended(HUNG)
    assert pulse.read() is None
    (hung,) = PulseFile.all_in(folder.parent)
    assert (hung.pid, hung.began, hung.end) == (12, "345", HUNG)
    reading = hung.read()
    assert reading is not None and reading.beats == 0


def test_sockets_go_with_the_process_that_had_them_and_those_of_others_stay(folder: Path) -> None:
    own, others = {"12-345-ab.sock", "12-345-cd.sock"}, {"12-346-ab.sock", "2-345-a.sock", "x.sock"}
    for name in own | others:
        (folder.parent / name).touch()
    (folder / "12-345").write_bytes(bytes(SIZE))
    (pulse,) = PulseFile.all_in(folder.parent)
    pulse.mark_ended(HUNG)
    assert {one.name for one in folder.parent.glob("*.sock")} == others


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert list(PulseFile.all_in(tmp_path)) == []
