"""What the supervisor leaves of processes of graphs is told until it was heard."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.observe.ended import EndedProcess, ended
from anabranch.pulse import SIZE, Pulse
from anabranch.serve.heartbeat import EXCESSIVE, FOLDER, HUNG


class Caller:
    """Has a number in a pulse."""


def left(folder: Path, name: str, graph: str, node: str, note: bytes = b"the stacks") -> None:
    memory, pulse, caller = bytearray(SIZE), Pulse(), Caller()
    pulse.share(memoryview(memory), graph, "2" if graph else "", 3.5)
    if node:
        pulse.called[0] = pulse.number(caller, "", "", node)
    (folder / name).write_bytes(bytes(memory) + note)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pulses = tmp_path / FOLDER
    pulses.mkdir()
    return pulses


def test_processes_of_graphs_are_told_until_they_were_heard(tmp_path: Path, folder: Path) -> None:
    left(folder, f"1-1{HUNG}", "shop", "slow")
    left(folder, f"2-1{EXCESSIVE}", "shop", "", b"took too much")
    left(folder, f"3-1{HUNG}", "", "")
    left(folder, "4-1", "shop", "alive")
    expected = {
        EndedProcess(f"1-1{HUNG}", HUNG, "shop", "2", "slow", 3.5, "the stacks"),
        EndedProcess(f"2-1{EXCESSIVE}", EXCESSIVE, "shop", "2", "", 3.5, "took too much"),
    }
    assert set(ended(tmp_path)) == expected
    assert set(ended(tmp_path)) == expected
    assert [one.pulse for one in ended(tmp_path, {f"1-1{HUNG}"})] == [f"2-1{EXCESSIVE}"]
    assert ended(tmp_path, {f"2-1{EXCESSIVE}"}) == []
    assert [one.name for one in folder.iterdir()] == ["4-1"]


def test_a_file_that_another_process_removes_meanwhile_keeps_no_other_from_being_told(
    tmp_path: Path, folder: Path
) -> None:
    (folder / f"1-1{HUNG}").symlink_to(tmp_path / "nowhere")  # is listed, and cannot be read
    (folder / f"2-1{HUNG}").write_bytes(b"short")
    left(folder, f"3-1{HUNG}", "shop", "slow")
    assert [one.pulse for one in ended(tmp_path)] == [f"3-1{HUNG}"]
    assert [one.name for one in folder.iterdir()] == [f"3-1{HUNG}"]


def test_without_a_folder_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert ended(None) == []
    assert ended(tmp_path) == []
