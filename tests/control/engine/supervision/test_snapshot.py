"""The processes of this machine, and what one has started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from anabranch.control.engine.supervision import snapshot
from anabranch.control.engine.supervision.snapshot import (
    Lookout,
    ProcessLook,
    below,
    look,
    look_at,
    open_files,
)


def test_this_process_and_what_it_starts_are_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = look()
        own = found[os.getpid()]
        assert own.parent == os.getppid() and own.threads >= 1 and own.memory > 2**20
        assert child.pid in {one.pid for one in below(os.getpid(), found)}
    finally:
        child.communicate(b"\n")
    assert look_at(child.pid) is None


def test_a_tree_of_any_shape_is_walked_once() -> None:
    def process(pid: int, parent: int) -> ProcessLook:
        return ProcessLook(pid, "S", parent, 1, "1", 0)

    tree = {pid: process(pid, parent) for pid, parent in [(2, 1), (3, 2), (4, 2), (5, 4), (9, 1)]}
    assert sorted(one.pid for one in below(2, tree)) == [3, 4, 5]
    loop = {pid: process(pid, parent) for pid, parent in [(2, 3), (3, 2)]}
    assert sorted(one.pid for one in below(2, loop)) == [2, 3]


def test_all_who_seek_share_one_look_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Seeker:
        def __init__(self) -> None:
            self.looks: list[Mapping[int, ProcessLook]] = []

        def kill_among(self, processes: Mapping[int, ProcessLook]) -> None:
            self.looks.append(processes)

    times = iter([100.0, 100.5, 101.0])
    monkeypatch.setattr(snapshot, "clock", lambda: next(times))
    first, second = Seeker(), Seeker()
    lookout = Lookout(first, second)
    for _ in range(3):
        lookout.kill()
    assert [len(one.looks) for one in (first, second)] == [2, 2]
    assert first.looks[1] is second.looks[1] is not first.looks[0]
    assert os.getpid() in first.looks[0]


def test_open_files_are_counted(tmp_path: Path) -> None:
    before = open_files(os.getpid())
    files = [(tmp_path / str(number)).open("w") for number in range(50)]
    try:
        assert open_files(os.getpid()) == before + 50
    finally:
        for file in files:
            file.close()
    assert open_files(2**22 + 1) == 0  # beyond what Linux gives out
