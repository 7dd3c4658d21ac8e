"""Only processes that carry the engine's mark are ever stopped."""

import os
import subprocess
import sys
import uuid

import psutil
import pytest

from anabranch.control.engine import processes
from anabranch.serve.workers.environment import MARK

WAITS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITS!r}]).wait()"

CARELESS = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {WAITS!r}], env=os.environ | {{mark}})
time.sleep(600)
"""


@pytest.fixture
def engine_id():
    return uuid.uuid4().hex


@pytest.fixture
def start():
    started = []

    def start(code, mark=None):
        env = {name: value for name, value in os.environ.items() if name != MARK}
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=env if mark is None else env | {MARK: mark},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_marked_process_stops_and_the_others_stay(engine_id, start, tmp_path):
    ours, other = start(WAITS, engine_id), start(WAITS, uuid.uuid4().hex)
    stranger = start(WAITS)
    processes.stop(engine_id, ours.pid, tmp_path)
    assert ours.poll() is not None
    assert other.poll() is None and stranger.poll() is None


def test_a_process_that_nobody_reaps_has_stopped(engine_id, start, tmp_path, monkeypatch):
    """The first process of many containers reaps nothing."""
    monkeypatch.setattr(processes, "TERM_S", 1e6)
    careless = start(CARELESS.format(mark={MARK: engine_id}))
    (child,) = psutil.Process(careless.pid).children()
    processes.stop(engine_id, None, tmp_path)
    assert child.status() == psutil.STATUS_ZOMBIE
    assert careless.poll() is None


def test_a_reused_id_of_the_head_is_left_alone(engine_id, start, tmp_path):
    stranger = start(WAITS)
    processes.stop(engine_id, stranger.pid, tmp_path)
    assert stranger.poll() is None


def test_children_without_their_parent_are_found(engine_id, start, tmp_path):
    parent = start(PARENT, engine_id)
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert [process.pid for process in processes.of_engine(engine_id, tmp_path)] == [child.pid]
    processes.stop(engine_id, parent.pid, tmp_path)
    assert not processes.of_engine(engine_id, tmp_path)


def test_a_process_that_ignores_the_signal_is_killed(engine_id, start, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    monkeypatch.setattr(processes, "TERM_S", 0.1)
    ours = start(STUBBORN, engine_id)
    processes.stop(engine_id, ours.pid, tmp_path)
    assert ours.poll() is not None


def test_a_process_that_wrote_over_its_environment_is_known_by_its_files(
    engine_id, tmp_path, start
):
    writes = f"log = open({str(tmp_path / 'log')!r}, 'w'); {WAITS}"
    ours = start(f"import os, sys; os.execve(sys.executable, ['titled', '-c', {writes!r}], {{}})")
    assert processes.of_engine(engine_id, tmp_path / "elsewhere") == []
    assert [process.pid for process in processes.of_engine(engine_id, tmp_path)] == [ours.pid]
    assert processes.belongs(ours.pid, engine_id, tmp_path)
    assert not processes.belongs(ours.pid, engine_id, tmp_path / "elsewhere")


def test_only_living_processes_belong_to_an_engine(engine_id, start, tmp_path):
    ours = start(WAITS, engine_id)
    assert processes.belongs(ours.pid, engine_id, tmp_path)
    assert not processes.belongs(ours.pid, "another", tmp_path)
    ours.kill()
    ours.wait()
    assert not processes.belongs(ours.pid, engine_id, tmp_path)


def test_a_process_that_executes_programs_is_always_found(engine_id, tmp_path, monkeypatch):
    """The system shows no environment while a program is being executed."""
    monkeypatch.setattr(processes, "_YOUNG_S", 1e6)
    script = tmp_path / "again"
    script.write_text('#!/bin/sh\nexec "$0"\n')
    script.chmod(0o700)
    with subprocess.Popen([script], env=os.environ | {MARK: engine_id}) as busy:
        try:
            assert all(processes.belongs(busy.pid, engine_id, tmp_path) for _ in range(2_000))
        finally:
            busy.kill()
