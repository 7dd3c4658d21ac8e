"""Real processes that hold their event loop or Python's lock, and others that only rest."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from anabranch.control.engine.supervision import heartbeats
from anabranch.control.engine.supervision.heartbeats import Heartbeats
from anabranch.pulse import SIZE, Reading, beats_in
from anabranch.serve.heartbeat import FOLDER, HUNG, PulseFile
from anabranch.serve.sockets import FOLDER as SOCKETS
from tests.waiting import until

CODE = """
import asyncio, ctypes, re, sys, threading, time
from anabranch.serve import heartbeat
from anabranch.pulse import PULSE

class Caller: pass

def component_that_holds():
    print(flush=True)
    if sys.argv[1] == "sleep":
        ctypes.PyDLL(None).sleep(600)
    elif sys.argv[1] == "regex":
        re.match("(a*)*b", "a" * 60)
    else:
        time.sleep(600)

async def main():
    caller = Caller()
    number = PULSE.number(caller, "", "", "slow")
    heartbeat.BEAT_S = 0.005
    heartbeat.start_heartbeat(2.0)
    await asyncio.sleep(0.02)
    PULSE.called[0] = number
    if sys.argv[1] == "loads":
        with PULSE.resting():
            print(flush=True)
            ctypes.PyDLL(None).sleep(600)
    if sys.argv[1] in ("sleep", "regex"):
        threading.Thread(target=component_that_holds, daemon=True).start()
    elif sys.argv[1] == "loop":
        component_that_holds()
    else:
        print(flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""

Process = subprocess.Popen[bytes]
Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that does what its one word says; all are gone afterwards."""
    started: list[Process] = []
    env = {
        **os.environ, SOCKETS: str(tmp_path),
        "ANABRANCH_GRAPH": "g", "ANABRANCH_REVISION": "3", "RAY_ENABLE_AUTO_CONNECT": "0",
    }  # fmt: skip

    def begun(word: str) -> Process:
        command = [sys.executable, "-c", CODE, word]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        return process

    yield begun
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heartbeats:
    """Looks, between which a second passes each; they wait long for stacks."""
    monkeypatch.setattr(heartbeats, "clock", map(float, itertools.count()).__next__)
    monkeypatch.setattr(heartbeats, "_STACKS_S", 60.0)
    monkeypatch.setattr(heartbeats, "_PAUSE_S", 0.3)
    return Heartbeats(tmp_path)


def pulse_of(folder: Path, process: Process) -> Path:
    (pulse,) = (folder / FOLDER).glob(f"{process.pid}-*")
    return pulse


@pytest.mark.parametrize("word", ["sleep", "regex", "loop"])
def test_a_process_that_cannot_answer_is_killed_and_told_with_its_node_and_stacks(
    start: Start, found: Heartbeats, tmp_path: Path, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    process = start(word)
    with caplog.at_level(logging.ERROR, "anabranch.supervisor"):
        until(lambda: found.kill() or process.poll() is not None, 300)
    assert process.wait() == -signal.SIGKILL
    assert "graph 'g'" in caplog.text and "node 'slow' was called last" in caplog.text
    assert "component_that_holds" in caplog.text
    left = pulse_of(tmp_path, process)
    assert left.name.endswith(HUNG)
    assert Reading.of(left.read_bytes()[:SIZE])[2:5] == ("g", "3", "slow")


HANGS = """
import sys, time
from pathlib import Path
from anabranch.pulse import PULSE
from anabranch.serve.heartbeat import share_pulse

assert share_pulse(Path(sys.argv[1]), 2.0)
PULSE.beat()
print(flush=True)
time.sleep(600)
"""


def test_a_process_without_an_event_loop_that_has_stopped_beating_is_killed(
    found: Heartbeats, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HANGS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        until(lambda: found.kill() or process.poll() is not None)
        assert process.wait() == -signal.SIGKILL


def test_a_process_has_all_of_its_patience(start: Start, found: Heartbeats, tmp_path: Path) -> None:
    pulse = pulse_of(tmp_path, start("sleep"))
    for _ in range(2):  # a look at its beats, and a second without one
        found.kill()
        assert pulse.exists()
    until(lambda: found.kill() or not pulse.exists())


def test_a_process_that_goes_on_at_the_last_moment_is_left_alone(
    start: Start, found: Heartbeats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("loop")
    pulse = pulse_of(tmp_path, process)
    asked: list[int] = []

    def beats_meanwhile(pulse: PulseFile) -> str:
        with pulse.path.open("r+b") as file:
            file.write((10**6 + len(asked)).to_bytes(8, "little"))
        asked.append(pulse.pid)
        return ""

    monkeypatch.setattr(heartbeats, "_stacks", beats_meanwhile)
    until(lambda: found.kill() or len(asked) == 2)
    assert asked == [process.pid] * 2
    assert process.poll() is None and pulse.exists()


def test_a_process_that_beats_or_loads_or_is_kept_from_running_is_left_alone(
    start: Start, found: Heartbeats, tmp_path: Path
) -> None:
    beats, loads, stopped = start("beats"), start("loads"), start("beats")
    stopped.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED)
    pulse = pulse_of(tmp_path, beats)
    for _ in range(20):
        before = pulse.read_bytes()[:8]
        until(lambda before=before: pulse.read_bytes()[:8] != before)
        found.kill()
    assert beats_in(pulse.read_bytes()[:8]) > 20
    assert [one.poll() for one in (beats, loads, stopped)] == [None, None, None]


def test_the_pulse_of_a_process_that_has_ended_is_removed_and_its_sockets(
    start: Start, found: Heartbeats, tmp_path: Path
) -> None:
    process = start("beats")
    pulse = pulse_of(tmp_path, process)
    socket = tmp_path / f"{pulse.name}-ab12.sock"
    socket.touch()
    found.kill()
    assert socket.exists()
    process.kill()
    process.wait()
    until(lambda: found.kill() or not pulse.exists())
    assert not socket.exists()


def test_a_process_that_got_the_id_of_another_one_is_left_alone(
    start: Start, found: Heartbeats, tmp_path: Path
) -> None:
    process = start("loop")
    pulse = pulse_of(tmp_path, process)
    pulse.rename(pulse.with_name(f"{process.pid}-1"))
    for _ in range(10):
        found.kill()
    assert process.poll() is None
    assert list((tmp_path / FOLDER).iterdir()) == []
