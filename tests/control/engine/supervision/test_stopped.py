"""Real processes that are stopped, of an engine and of others."""

import os
import signal
import subprocess
import sys
import uuid

import psutil
import pytest

from anabranch.control.engine import processes
from anabranch.control.engine.supervision import snapshot, stopped
from anabranch.control.engine.supervision.snapshot import Lookout
from anabranch.control.engine.supervision.stopped import StoppedProcesses
from anabranch.serve.workers.environment import MARK
from tests.waiting import until


def of_engine(engine_id, runtime):
    return Lookout(StoppedProcesses(lambda pid: processes.belongs(pid, engine_id, runtime)))


WAITS = "import time; opened = open({!r}, 'a'); print(flush=True); time.sleep(600)"


@pytest.fixture(autouse=True)
def every_look(monkeypatch):
    monkeypatch.setattr(snapshot, "TURN_S", 0.0)


@pytest.fixture
def process():
    """Start processes of an engine; all are gone afterwards."""
    started = []

    def start(engine_id, number=signal.SIGSTOP, opens=None):
        """One that ``opens`` a file has no environment, as Ray's agents."""
        command = [sys.executable, "-c", WAITS.format(os.devnull if opens is None else str(opens))]
        env = {**os.environ, MARK: engine_id} if opens is None else {}
        child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        started.append(child)
        child.stdout.readline()
        child.send_signal(number)
        until(lambda: psutil.Process(child.pid).status() != psutil.STATUS_RUNNING)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_process_that_stays_stopped_is_killed_and_no_other(process, monkeypatch, tmp_path):
    ours, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    victim, stranger, busy = process(ours), process(theirs), process(ours, signal.SIGCONT)
    until(lambda: psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED)
    engine = of_engine(ours, tmp_path)
    engine.kill()
    assert victim.poll() is None
    monkeypatch.setattr(stopped, "STOPPED_S", 0.0)
    engine.kill()
    assert victim.wait(60) == -signal.SIGKILL
    assert stranger.poll() is None and busy.poll() is None


def test_a_process_without_an_environment_is_known_by_its_files(process, monkeypatch, tmp_path):
    monkeypatch.setattr(stopped, "STOPPED_S", 0.0)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    ours = process("", opens=runtime / "agent.log")
    theirs = process("", opens=tmp_path / "agent.log")
    until(lambda: psutil.Process(ours.pid).status() == psutil.STATUS_STOPPED)
    until(lambda: psutil.Process(theirs.pid).status() == psutil.STATUS_STOPPED)
    of_engine(uuid.uuid4().hex, runtime).kill()
    assert ours.wait(60) == -signal.SIGKILL
    assert theirs.poll() is None


def test_a_process_that_goes_on_has_all_its_time_again(process, monkeypatch, tmp_path):
    times = iter([100.0, 101.0, 104.0, 105.0])
    monkeypatch.setattr(stopped, "clock", lambda: next(times))
    victim = process(identity := uuid.uuid4().hex)
    until(lambda: psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED)
    engine = of_engine(identity, tmp_path)
    engine.kill()
    victim.send_signal(signal.SIGCONT)
    until(lambda: psutil.Process(victim.pid).status() != psutil.STATUS_STOPPED)
    engine.kill()
    victim.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED)
    engine.kill()
    engine.kill()
    assert victim.poll() is None
