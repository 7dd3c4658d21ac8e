"""A process starts after a pause where those before it have ended while they started."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from anabranch.serve.replicas import starts

OTHER = "other"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes of a machine note their starts; this one is of a graph's second revision."""
    monkeypatch.setenv("ANABRANCH_SOCKETS", str(tmp_path))
    monkeypatch.setenv("ANABRANCH_GRAPH", "team/shop")
    monkeypatch.setenv("ANABRANCH_REVISION", "2")
    (tmp_path / starts.FOLDER).mkdir()
    return tmp_path / starts.FOLDER


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], float]:
    """Begin a start of a segment; returns for how long it would have waited."""
    waited = [0.0]

    async def sleep(seconds: float) -> None:
        waited[0] = seconds

    def begin(segment: str) -> float:
        waited[0] = 0.0
        asyncio.run(starts.begin_start(segment))
        return waited[0]

    monkeypatch.setattr(starts, "sleep", sleep)
    return begin


def ended() -> subprocess.Popen[bytes]:
    """A process that has ended, and that nobody has waited for yet."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def gone() -> int:
    """The number of a process that is no more."""
    process = ended()
    process.wait()
    return process.pid


def note(folder: Path, segment: str, pid: int) -> Path:
    path = folder / f"team_shop.r2.{segment}.{pid}"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("failed", "seconds"),
    [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (10**6, 30)],
)
def test_pauses_grow_to_half_a_minute(failed: int, seconds: float) -> None:
    assert starts.pause_after(failed) == seconds


def test_what_ended_before_it_was_ready_counts_until_another_process_is(
    folder: Path, pause: Callable[[str], float]
) -> None:
    pids = [gone() for _ in range(4)]
    for pid in pids[1:]:
        note(folder, "model", pid)
    assert pause("model") == 1.0
    note(folder, "model", pids[0])
    assert pause("model") == 2.0
    assert pause(OTHER) == 0.0
    starts.end_start("model")
    assert [path.name for path in folder.iterdir()] == [f"team_shop.r2.{OTHER}.{os.getpid()}"]
    assert pause("model") == 0.0


def test_one_that_starts_still_has_not_failed_and_one_that_nobody_waited_for_has(
    folder: Path, pause: Callable[[str], float]
) -> None:
    note(folder, "model", os.getppid())
    for _ in range(2):
        note(folder, "model", gone())
    assert pause("model") == 0.0
    process = ended()
    note(folder, "model", process.pid)
    assert pause("model") == 1.0
    process.wait()


def test_what_is_long_ago_is_forgotten(folder: Path, pause: Callable[[str], float]) -> None:
    for pid in [gone() for _ in range(3)]:
        for segment in ("model", OTHER):
            os.utime(note(folder, segment, pid), (0, 0))
    assert pause("model") == 0.0
    assert [path.name for path in folder.iterdir()] == [f"team_shop.r2.model.{os.getpid()}"]


def test_what_cannot_be_noted_starts_all_the_same(
    folder: Path, pause: Callable[[str], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rmdir()
    folder.write_text("no folder")
    assert pause("model") == 0.0
    starts.end_start("model")
    monkeypatch.delenv("ANABRANCH_SOCKETS")
    assert pause("model") == 0.0
    starts.end_start("model")
