from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from anabranch.control.observe.log_bounds import keep_within
from anabranch.telemetry.log_settings import LogBounds
from tests.disks import names

SIZE = 64 * 2**10
BOUNDS = LogBounds(size=SIZE, total=4 * SIZE)
needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")


def write(path: Path, size: int, age: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_an_output_that_is_too_large_is_emptied_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.err"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * (2 * SIZE))
        keep_within(tmp_path, BOUNDS)
        writer.write(b"news\n")
    assert path.read_text() == (
        f"{2 * SIZE} bytes were left out: a log has at most {SIZE} (ANABRANCH_LOG_SIZE)\nnews\n"
    )


def test_what_is_within_the_bounds_stays_as_it_is(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "serve" / f"{number}.log", SIZE)
    keep_within(tmp_path, BOUNDS)
    assert names(tmp_path / "serve") == ["0.log", "1.log", "2.log", "3.log"]
    assert {path.stat().st_size for path in (tmp_path / "serve").iterdir()} == {SIZE}
    keep_within(tmp_path / "no such folder", BOUNDS)


@needs_proc
def test_the_oldest_logs_of_ended_processes_go_and_no_other(tmp_path: Path) -> None:
    for age in range(6):
        write(tmp_path / ("serve" if age % 2 else "") / f"{age}.log", SIZE, age)
    with (tmp_path / "serve" / "5.log").open("ab"):
        keep_within(tmp_path, BOUNDS)
        assert names(tmp_path) == ["0.log", "2.log", "serve"]
        assert names(tmp_path / "serve") == ["1.log", "5.log"]
    write(tmp_path / "new.log", SIZE)
    keep_within(tmp_path, BOUNDS)
    assert names(tmp_path / "serve") == ["1.log"]


@needs_proc
def test_the_oldest_go_where_there_are_too_many_files(tmp_path: Path) -> None:
    """Most processes have logs in which there is nothing."""
    for age in range(6):
        write(tmp_path / f"{age}.log", 0, age)
    with (tmp_path / "5.log").open("ab"):
        keep_within(tmp_path, LogBounds(files=3))
        assert names(tmp_path) == ["0.log", "1.log", "5.log"]


def test_links_are_no_logs(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", 10 * SIZE)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(elsewhere)
    keep_within(tmp_path / "logs", BOUNDS)
    assert elsewhere.stat().st_size == 10 * SIZE


@needs_proc
def test_logs_of_ended_processes_go_when_they_are_old(tmp_path: Path) -> None:
    now = int(time.time())
    for number, age in enumerate((0, 500, 2000, 3000)):
        path = write(tmp_path / f"{number}.log", 10)
        os.utime(path, (now - age, now - age))
    with (tmp_path / "3.log").open("rb"):
        keep_within(tmp_path, LogBounds(age=1000))
    assert names(tmp_path) == ["0.log", "1.log", "3.log"]
