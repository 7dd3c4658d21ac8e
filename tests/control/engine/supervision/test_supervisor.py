"""The supervisor with real processes in the place of Ray and of what is started on it."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from anabranch.client.connection.engine_state import EngineState, read_state, write_state
from anabranch.control.engine.supervision import supervisor
from anabranch.control.engine.supervision.supervisor import Launch, Supervisor
from anabranch.errors import EngineError
from anabranch.pulse import Pulse, beats_in
from anabranch.serve.workers.environment import MARK
from tests.waiting import until

SLEEPS = "import os, pathlib, time; pathlib.Path('head.pid').write_text(str(os.getpid())); "
FOREVER = "time.sleep(600)"


class Watching:
    """In the place of the helpers: says what a test tells it to."""

    def __init__(self):
        self.problem = None
        self.forgotten = 0

    def watch(self, head):
        problem, self.problem = self.problem, None
        return problem

    def forget(self):
        self.forgotten += 1


class Supervised:
    """An engine of a test, its supervisor in a thread."""

    def __init__(self, home):
        self.home = home
        self.watching = Watching()
        self.error = None
        (home / "logs").mkdir()
        self.state = EngineState("some id", "", "", "", "", str(home / "runtime"))
        write_state(home, self.state)

    def start(self, head=SLEEPS + FOREVER, driver="", adopted=None, folders=(), **options):
        command = [sys.executable, "-c"]
        launch = Launch([*command, head], [*command, driver], self.home, folders)
        self.supervisor = Supervisor(self.state, launch, self.watching, adopted, **options)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.supervisor.run()
        except EngineError as error:
            self.error = str(error)

    @property
    def is_ready(self):
        return read_state(self.home).ready

    @property
    def head(self):
        """The id of the head that runs, 0 while there is none."""
        file = self.home / "head.pid"
        return int(file.read_text() or 0) if file.exists() else 0

    def until_other_than(self, pid):
        until(lambda: self.head not in (0, pid) and psutil.pid_exists(self.head))
        return self.head

    def end(self):
        self.supervisor.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv(MARK, "some id")
    found = Supervised(tmp_path)
    yield found
    found.end()


def test_an_engine_is_up_once_the_driver_is_done_and_ends_when_it_is_told_to(engine):
    engine.start()
    until(lambda: engine.is_ready)
    head = engine.until_other_than(0)
    engine.end()
    assert not psutil.pid_exists(head)
    assert engine.error is None


@pytest.mark.parametrize("driver", ["", "import time; time.sleep(600)"], ids=["up", "starting"])
def test_it_beats_for_as_long_as_it_goes_on(engine, monkeypatch, driver):
    monkeypatch.setattr(supervisor, "_TURN_S", 0.005)
    monkeypatch.setattr(supervisor, "PULSE", pulse := Pulse())
    engine.start(driver=driver)
    until(lambda: beats_in(bytes(pulse._beats)) > 3)
    engine.end()


def test_a_head_that_is_killed_is_started_again_in_empty_folders(engine, tmp_path):
    folder = tmp_path / "tables"
    engine.start(folders=[folder])
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    (folder / "left").touch()
    os.kill(first, signal.SIGKILL)
    second = engine.until_other_than(first)
    assert psutil.pid_exists(second)
    assert list(folder.iterdir()) == []


def test_what_the_watch_finds_starts_ray_anew_without_what_was_left(engine, tmp_path):
    orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; "
    orphan += "time.sleep(600)'], start_new_session=True); "
    engine.start(head=orphan + SLEEPS + FOREVER)
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    children = psutil.Process(first).children()
    assert children
    engine.watching.problem = "it hangs"
    engine.until_other_than(first)
    assert not any(map(lives, children))


def test_a_further_start_is_as_whoever_is_asked_says(engine):
    env = {**os.environ, "SAID": "again"}
    writes = "import os; open('said', 'w').write(os.environ.get('SAID', '')); "
    engine.start(head=writes + SLEEPS + FOREVER, renew=lambda launch, *_: replace(launch, env=env))
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    assert (engine.home / "said").read_text() == ""
    os.kill(first, signal.SIGKILL)
    until(lambda: (engine.home / "said").read_text() == "again")


def test_what_is_left_goes_on_until_there_is_a_further_start(engine):
    """Ray itself answers while its engine is found elsewhere; the machine may change its engine."""
    asked = []

    def renews(launch, runs, stopping):
        asked.append((runs, psutil.pid_exists(engine.head)))
        write_state(engine.home, replace(read_state(engine.home), http="http://elsewhere:1"))
        return launch

    engine.start(renew=renews)
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    engine.watching.problem = "the engine does not know this machine"
    engine.until_other_than(first)
    assert asked == [(True, True)] and not psutil.pid_exists(first)
    os.kill(engine.head, signal.SIGKILL)
    until(lambda: len(asked) == 2)
    assert not asked[1][0]
    engine.end()
    assert read_state(engine.home).http == "http://elsewhere:1"


def test_there_is_no_further_start_where_there_must_be_none(engine):
    def refuses(launch, runs, stopping):
        raise EngineError("it was drained")

    engine.start(renew=refuses)
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    os.kill(first, signal.SIGKILL)
    engine.thread.join(60)
    assert engine.error == read_state(engine.home).problem == "it was drained"


def test_what_waits_for_a_further_start_is_ended_without_one(engine):
    waiting = threading.Event()

    def waits(launch, runs, stopping):
        waiting.set()
        stopping.wait(60)
        return launch

    engine.start(renew=waits)
    first = engine.until_other_than(0)
    until(lambda: engine.is_ready)
    os.kill(first, signal.SIGKILL)
    assert waiting.wait(60)
    engine.end()
    assert engine.head == first and engine.error is None


def lives(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_first_start_that_fails_says_why_with_the_end_of_the_log(engine):
    engine.start(driver="import sys; print('a reason'); sys.exit(1)")
    engine.thread.join(60)
    assert "what belongs on Ray did not start" in engine.error
    assert "a reason" in engine.error and "driver.log" in engine.error
    assert read_state(engine.home).problem == engine.error
    assert not engine.is_ready


def test_a_head_that_ends_while_starting_is_told(engine):
    engine.start(head="print('no port')", driver="import time; time.sleep(600)")
    engine.thread.join(60)
    assert "Ray ended while starting" in engine.error and "no port" in engine.error


def test_an_engine_that_cannot_be_kept_up_is_given_up_with_the_reason(engine):
    until_ready = "while '\"ready\": true' not in open('engine.json').read(): time.sleep(0.01)"
    engine.start(head=f"import time\n{until_ready}")
    engine.thread.join(120)
    assert f"started anew {supervisor.MAX_RESTARTS} times" in engine.error
    assert read_state(engine.home).problem == engine.error


def test_a_head_that_runs_already_is_adopted_and_ended_in_the_end(engine, tmp_path):
    shell = ["sh", "-c", '"$0" -c "$1" &', sys.executable, SLEEPS + FOREVER]
    subprocess.run(shell, cwd=tmp_path, check=True)
    head = engine.until_other_than(0)
    running = psutil.Process(head)
    engine.start(adopted=running)
    until(lambda: engine.is_ready)
    assert engine.head == head
    engine.end()
    assert not lives(running)


def test_options_of_rays_command_line_are_read():
    arguments = ["-m", "x", "start", "--head", "--port=31001", "--temp-dir=/a=b"]
    assert supervisor.options(arguments) == {"--port": "31001", "--temp-dir": "/a=b"}


@pytest.mark.parametrize("words", [["start", "--head"], ["start"]], ids=["head", "joined"])
def test_a_supervisor_without_an_engine_says_so(tmp_path, words):
    env = {**os.environ, "ANABRANCH_HOME": str(tmp_path)}
    started = supervisor.start(words, env)
    assert started.wait(60) == 1
    assert "no engine is being started" in Path(tmp_path / supervisor.LOG).read_text()
