"""Real processes with the title of Serve's controller, that grow or do not."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from anabranch.control.engine.supervision import grown
from anabranch.control.engine.supervision.grown import LEAST_S, TURN_S, GrownController
from anabranch.serve.workers.environment import MARK

GROWS = """
import sys
kept = []
for line in sys.stdin:
    kept.append(b"x" * int(line))
    print(flush=True)
"""
Process = subprocess.Popen[bytes]
Start = Callable[[str], Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process of an engine that takes as many bytes as it is told."""
    started: list[Process] = []

    def begun(engine_id: str) -> Process:
        child = subprocess.Popen(
            ["ray::ServeController", "-c", GROWS], executable=sys.executable,
            env={**os.environ, MARK: engine_id}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(child)
        grow(child, 0)
        return child

    yield begun
    for child in started:
        child.kill()
        child.communicate()


def grow(child: Process, size: int) -> None:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"%d\n" % size)
    child.stdin.flush()
    assert child.stdout.readline() == b"\n"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Between two calls of the clock passes the time of one pause."""
    monkeypatch.setattr(grown, "clock", itertools.count(0.0, TURN_S).__next__)
    monkeypatch.setattr(grown, "MOST", 2**24)
    yield


@pytest.mark.usefixtures("looks")
def test_one_that_has_grown_is_killed_after_its_time_and_no_other(
    start: Start, tmp_path: Path
) -> None:
    ours, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    child, stranger = start(ours), start(theirs)
    controller = GrownController(ours, tmp_path)
    controller.kill()
    for one in (child, stranger):
        grow(one, 2**25)
    for _ in range(int(LEAST_S / TURN_S) - 1):
        controller.kill()
        assert child.poll() is None
    controller.kill()
    assert child.wait(60) == -signal.SIGKILL
    assert stranger.poll() is None


@pytest.mark.usefixtures("looks")
def test_one_with_the_id_of_an_ended_process_is_killed_too(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = uuid.uuid4().hex
    child = start(ours)
    remembered = psutil.Process(child.pid)
    monkeypatch.setattr(remembered, "_ident", (child.pid, 0.0))
    monkeypatch.setitem(psutil._pmap, child.pid, remembered)
    controller = GrownController(ours, tmp_path)
    controller.kill()
    grow(child, 2**25)
    for _ in range(int(LEAST_S / TURN_S)):
        controller.kill()
    assert child.wait(60) == -signal.SIGKILL


@pytest.mark.usefixtures("looks")
def test_one_that_is_large_from_the_start_is_left_alone(start: Start, tmp_path: Path) -> None:
    ours = uuid.uuid4().hex
    child = start(ours)
    grow(child, 2**25)
    controller = GrownController(ours, tmp_path)
    for _ in range(2 * int(LEAST_S / TURN_S)):
        controller.kill()
    assert child.poll() is None
