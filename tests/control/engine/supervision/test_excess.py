"""Real processes that take more of the machine than they may, and others that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from anabranch.control.engine.supervision import snapshot
from anabranch.control.engine.supervision.excess import ExcessiveProcesses
from anabranch.control.engine.supervision.snapshot import Lookout, below, look
from anabranch.control.settings.process_bounds import ProcessBounds
from anabranch.serve.heartbeat import EXCESSIVE, FOLDER, PulseFile
from tests.waiting import until

CODE = """
import os, resource, sys, threading, time
from pathlib import Path
from anabranch.pulse import PULSE
from anabranch.serve.heartbeat import share_pulse

class Caller: pass

caller = Caller()
PULSE.limit(int(sys.argv[3]))
assert share_pulse(Path(sys.argv[1]), 2.0)
PULSE.called[0] = PULSE.number(caller, "", "", "greedy")
match sys.argv[2]:
    case "memory":
        kept = b"x" * (200 << 20)
    case "child":
        if os.fork() == 0:
            kept = b"x" * (200 << 20)
    case "threads":
        for _ in range(100):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    case "processes":
        for _ in range(20):
            if os.fork() == 0:
                time.sleep(600)
    case "files":
        kept = [open(os.devnull) for _ in range(110)]
    case "full":
        resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70))
        kept = []
        try:
            while True:
                kept.append(open(os.devnull))
        except OSError:
            pass
    case "bomb":
        while os.fork() != 0:
            time.sleep(0.005)
print(flush=True)
time.sleep(600)
"""
MIB = 2**20
BOUNDS = ProcessBounds(memory=150 * MIB, threads=64, processes=10, files=100)

Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture(autouse=True)
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "TURN_S", 0.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that does what its one word says; all are gone afterwards."""
    started: list[Process] = []
    env = {**os.environ, "ANABRANCH_GRAPH": "g", "ANABRANCH_REVISION": "3"}

    def begun(word: str, memory: int = 0, says: bool = True) -> Process:
        command = [sys.executable, "-c", CODE, str(tmp_path), word, str(memory)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        started.append(process)
        if says:
            assert process.stdout is not None and process.stdout.readline() == b"\n"
        return process

    yield begun
    for process in started:
        for one in below(process.pid, look()):
            with suppress(OSError):
                os.kill(one.pid, signal.SIGKILL)
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("memory", r"of memory, over its 150 MiB"),
        ("child", r"of memory, over its 150 MiB"),
        ("threads", "threads, over the limit of 64"),
        ("processes", "had started 20 processes, over the limit of 10"),
        ("files", r"open files, over the limit of 100"),
        ("full", r"open files, over the limit of 63"),
    ],
)
def test_a_process_that_takes_too_much_is_killed_with_all_that_it_has_started(
    start: Start, tmp_path: Path, word: str, why: str
) -> None:
    modest, greedy = start("nothing"), start(word)
    children = [psutil.Process(one.pid) for one in below(greedy.pid, look())]
    found = Lookout(ExcessiveProcesses(tmp_path, BOUNDS))
    until(lambda: found.kill() or greedy.poll() is not None)
    assert greedy.wait() == -signal.SIGKILL and modest.poll() is None
    for child in children:
        until(lambda child=child: not psutil.pid_exists(child.pid) or _is_dead(child))
    (told,) = [one for one in PulseFile.all_in(tmp_path) if one.end]
    assert (told.pid, told.end) == (greedy.pid, EXCESSIVE)
    assert why in told.read_note()
    reading = told.read()
    assert reading is not None and reading[2:5] == ("g", "3", "greedy")


def test_the_memory_that_the_spec_says_counts_before_that_of_the_engine(
    start: Start, tmp_path: Path
) -> None:
    large, small = start("memory", memory=400 * MIB), start("nothing", memory=2 * MIB)
    Lookout(ExcessiveProcesses(tmp_path, BOUNDS)).kill()
    assert small.wait() == -signal.SIGKILL and large.poll() is None


def test_what_forks_without_end_is_outrun(start: Start, tmp_path: Path) -> None:
    bomb = start("bomb", says=False)
    found = Lookout(ExcessiveProcesses(tmp_path, BOUNDS))
    until(lambda: found.kill() or bomb.poll() is not None)
    assert bomb.wait() == -signal.SIGKILL
    until(lambda: not list(below(bomb.pid, look())))


def test_processes_that_end_meanwhile_and_foreign_files_are_left_alone(
    start: Start, tmp_path: Path
) -> None:
    gone = start("memory")
    gone.kill()
    gone.wait()
    (tmp_path / FOLDER / "1-1").write_bytes(b"short")
    (tmp_path / FOLDER / "README").write_bytes(b"")
    Lookout(ExcessiveProcesses(tmp_path, BOUNDS)).kill()
    assert not any(one.end for one in PulseFile.all_in(tmp_path))


def _is_dead(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True
