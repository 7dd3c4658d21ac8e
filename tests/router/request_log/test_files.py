"""Logs in files: rotated, bounded, and readable whatever happens."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch.router.request_log.files import Files, Rotation, prune
from tests.disks import fill, small_disk


def lines(folder: Path) -> list[str]:
    """The ids in all files, in the order of their names."""
    return [
        json.loads(line)["id"]
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


class MovingClock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def test_events_are_lines_of_a_private_file(tmp_path: Path, event: Any) -> None:
    folder = tmp_path / "requests" / "demo"
    files = Files(folder, "r3-ab/../cd")
    assert files.send(map(event, range(3))) == 3
    assert lines(folder) == ["0", "1", "2"], "they are there before it is closed"
    (path,) = folder.iterdir()
    assert path.name.startswith("r3-ab_.._cd-20")
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    files.close()
    files.close()
    assert files.send([event(3)]) == 1
    assert lines(folder) == ["0", "1", "2", "3"]
    files.close()


def test_a_full_file_is_followed_by_another(tmp_path: Path, event: Any) -> None:
    size = len(event(0)) + 1
    files = Files(tmp_path, "r3-a", rotation=Rotation(size=3 * size), clock=MovingClock())
    for number in range(10):
        assert files.send([event(number)]) == 1
    files.close()
    assert [len(path.read_text().splitlines()) for path in sorted(tmp_path.iterdir())] == [
        3, 3, 3, 1,
    ]  # fmt: skip
    assert lines(tmp_path) == [str(number) for number in range(10)]


def test_an_old_file_is_followed_by_another(tmp_path: Path, event: Any) -> None:
    clock = MovingClock()
    files = Files(tmp_path, "r3-a", rotation=Rotation(age=60), clock=clock)
    files.send([event(0)])
    clock.now += 59
    files.send([event(1)])
    clock.now += 2
    files.send([event(2)])
    files.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_oldest_files_go(tmp_path: Path, event: Any) -> None:
    size = len(event(0)) + 1
    files = Files(tmp_path, "r3-a", rotation=Rotation(size=1, total=3 * size), clock=MovingClock())
    for number in range(10):
        files.send([event(number)])
        for age, path in enumerate(sorted(tmp_path.iterdir(), reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
    files.close()
    assert lines(tmp_path) == ["7", "8", "9"]


def test_a_file_in_progress_is_not_deleted(tmp_path: Path, event: Any) -> None:
    """Not even by another router, whose files are in the same folder."""
    files = Files(tmp_path, "r3-a")
    files.send([event(0)])
    (tmp_path / "r2-b-1.jsonl").write_bytes(event(1))
    prune(tmp_path, 0)
    assert lines(tmp_path) == ["0"]
    files.close()
    prune(tmp_path, 0)
    assert lines(tmp_path) == []


def test_a_disk_that_is_full_leaves_whole_lines(tmp_path: Path, event: Any) -> None:
    """As a limit on the size of files has it: the system takes a part, and then nothing."""
    big = event(0, 2**20)
    script = """
import resource, signal, sys
from pathlib import Path
from anabranch.router.request_log.files import Files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
event = Path(sys.argv[1]).read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(event) * 5 // 2, resource.RLIM_INFINITY))
files = Files(Path(sys.argv[2]), "r3-a")
print(files.send([event] * 4))
try:
    files.send([event])
except OSError as error:
    print(type(error).__name__)
"""
    (tmp_path / "event").write_bytes(big)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "event"), str(tmp_path / "log")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["2", "OSError"], done.stderr
    assert lines(tmp_path / "log") == ["0", "0"]


def test_a_process_that_is_killed_loses_nothing_that_it_has_sent(
    tmp_path: Path, event: Any
) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from anabranch.router.request_log.files import Files
files = Files(Path(sys.argv[2]), "r3-a")
files.send([Path(sys.argv[1]).read_bytes()] * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "event").write_bytes(event(7))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "event"), str(tmp_path / "log")], timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert lines(tmp_path / "log") == ["7"] * 1000
    (path,) = (tmp_path / "log").iterdir()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is free again


def test_a_file_that_is_deleted_before_it_has_its_lock_is_made_again(
    tmp_path: Path, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a router that takes the empty file for a complete one."""
    flock, taken = fcntl.flock, 2

    def late(descriptor: int, how: int) -> None:
        nonlocal taken
        if taken:
            taken -= 1
            (path,) = tmp_path.iterdir()
            path.unlink()
        flock(descriptor, how)

    files = Files(tmp_path, "r3-a")
    monkeypatch.setattr(fcntl, "flock", late)
    assert files.send([event(1)]) == 1
    assert (taken, lines(tmp_path)) == (0, ["1"])
    files.close()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Files(tmp_path / "file" / "demo", "r3-a")


def test_a_full_disk_costs_events_and_no_line_is_cut(tmp_path: Path, event: Any) -> None:
    with small_disk(tmp_path / "disk", 128 * 1024) as disk:
        files = Files(disk, "r3-a")
        assert files.send([event(0)]) == 1
        ballast = fill(disk)
        sent = 1
        with pytest.raises(OSError, match="No space left on device"):
            while True:  # until the page of the first event is full
                sent += files.send([event(sent)])
        assert lines(disk) == [str(number) for number in range(sent)]
        ballast.unlink()
        assert files.send([event(sent)]) == 1
        assert lines(disk)[-1] == str(sent)
        files.close()
