"""The processes of this machine, and what one has started."""

from __future__ import annotations

import os
import subprocess
import sys

from anabranch.control.engine.supervision.snapshot import ProcessLook, below, look, look_at


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
