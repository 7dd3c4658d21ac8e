"""The supervisor of an engine: ``python -m`` with this module, and the arguments of Ray's head.

Machines that have joined an engine have one of their own (``joining/worker.py``), made of the same
parts.

It starts Ray's head, and the driver that brings Serve and the control plane up
on it. From then on it watches both: helpers that do not answer are killed, and the head replaces
those that can be replaced alone (``node.py``). Where the head itself has ended, or the engine does
not answer, it starts Ray anew, and with it all graphs of the store.

It ends with 0 when it is told to stop (SIGTERM), and with 1 when the engine cannot be kept up. The
reason is then in its log and in the engine's state.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import psutil

from anabranch.client.connection.engine_state import (
    RAY_TOKEN_FILE,
    EngineState,
    read_state,
    write_state,
)
from anabranch.control.engine import processes
from anabranch.control.engine.supervision.helpers import Helpers, answers_at, watch_over
from anabranch.control.nodes.shared import GCS_STORAGE
from anabranch.environment import Environment
from anabranch.errors import EngineError
from anabranch.pulse import PULSE
from anabranch.serve.heartbeat import share_pulse
from anabranch.serve.sockets import FOLDER

START_TIMEOUT_S = 180.0
"""Longest time that a start may take, in seconds."""
MAX_RESTARTS = 5
"""Restarts within ``WINDOW_S`` after which the engine is given up."""
WINDOW_S = 600.0
ADOPT = "ANABRANCH_ADOPT"
"""Variable with the id of a head that runs already, whose supervisor has ended."""
MODULE = "anabranch.control.engine.supervision.supervisor"
JOINED = "anabranch.control.engine.joining.worker"
"""The supervisor of a machine that has joined an engine."""
ATTACHED = "anabranch.control.engine.attaching.keeper"
"""The supervisor of an engine on a Ray that somebody else has started."""
ATTACH = "attach"
"""The first argument of that one."""
HEAD = "--head"
"""The word of Ray's command line that only the head of an engine has."""
LOG = "logs/supervisor.log"
"""Its log, in the home."""
STOP_S = 8.0
"""Time that the head has to end by itself when the engine is stopped, in seconds."""
PATIENCE_S = 30.0
"""Time without a beat after which the head takes the supervisor for hung, in seconds; it is longer
than all that the supervisor waits for between two beats."""
PYTHON = (sys.executable, "-P", "-m")
_TURN_S, _PAUSE_S = 0.5, 0.05
_LOG_LINES = 15

logger = logging.getLogger("anabranch.supervisor")


Process: TypeAlias = subprocess.Popen[bytes] | psutil.Process
"""A child, or a process of another parent."""


class Watch(Protocol):
    """Watches an engine that is up."""

    def watch(self, head: int) -> str | None:
        """Mend what can be below the process ``head``; why Ray must be started anew, if so."""

    def forget(self) -> None:
        """Note that all processes are new."""


@dataclass(frozen=True)
class Launch:
    """The commands of the two processes of a machine, by their names, and where they write.

    The head runs Ray; the driver ends once all that belongs on Ray is there. ``folders`` are made
    before they start, and emptied before they start anew. ``env`` is their environment; None for
    that of this process.
    """

    head: Sequence[str]
    driver: Sequence[str]
    home: Path
    folders: Sequence[Path] = ()
    env: Mapping[str, str] | None = None

    def log(self, name: str) -> Path:
        """The file with the output of a process."""
        return self.home / "logs" / f"{name}.log"

    def spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, with what this one has inherited."""
        with self.log(name).open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                cwd=self.home, start_new_session=True, close_fds=False, env=self.env,
            )  # fmt: skip


Renew: TypeAlias = Callable[[Launch, bool, threading.Event], Launch]
"""Gives the commands of a further start, and returns early once the event is set; EngineError where
there must be none. It is told whether Ray still runs, which goes on until it returns."""


class Supervisor:
    """Keeps an engine up. ``head`` is that of one that is up already; ``stop`` ends ``run``."""

    def __init__(
        self,
        state: EngineState,
        launch: Launch,
        watch: Watch,
        head: Process | None = None,
        renew: Renew = lambda launch, runs, stopping: launch,
    ) -> None:
        self._state = state
        self._launch = launch
        self._watch = watch
        self._head = head
        self._renew = renew
        self._stopping = threading.Event()
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)

    def stop(self) -> None:
        """Have ``run`` end the head and return; a signal may call it."""
        self._stopping.set()

    def run(self) -> None:
        """Keep the engine up until ``stop``; EngineError if that cannot be done."""
        try:
            if self._head is None:
                self._start()
            self._note(ready=not self._stopping.is_set())
            self._watch.forget()
            while not self._stopping.wait(_TURN_S):
                PULSE.beat()
                problem = self._problem()
                if problem is not None:
                    self._start_anew(problem)
        except EngineError as error:
            self._note(self._state.ready, str(error))
            raise
        finally:
            self._end_head(STOP_S)

    def _note(self, ready: bool, problem: str = "") -> None:
        known = read_state(self._launch.home) or self._state
        self._state = replace(known, ready=ready, problem=problem)
        write_state(self._launch.home, self._state)

    def _problem(self) -> str | None:
        """Why Ray must be started anew; None while it need not."""
        if self._head is None or not self._runs():
            return f"Ray ended, see {self._launch.log('head')}"
        return self._watch.watch(self._head.pid)

    def _runs(self) -> bool:
        return self._head is not None and not _has_ended(self._head)

    def _start_anew(self, problem: str) -> None:
        """Start until that succeeds, or was tried too often."""
        reason: str | None = problem
        while reason is not None and not self._stopping.is_set():
            logger.error("%s; starting Ray anew, with all that was on it", reason)
            self._count(reason)
            try:
                self._launch = self._renew(self._launch, self._runs(), self._stopping)
            finally:
                self._clear()
            reason = None if self._stopping.is_set() else self._try()
        self._watch.forget()

    def _count(self, problem: str) -> None:
        now = time.monotonic()
        if len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < WINDOW_S:
            raise EngineError(
                f"Ray was started anew {MAX_RESTARTS} times within {WINDOW_S / 60:.0f} minutes,"
                f" and that does not help: {problem}"
            )
        self._restarts.append(now)

    def _clear(self) -> None:
        """Remove all that is left of Ray, but its logs."""
        processes.kill(self._state.id, Path(self._state.runtime))
        self._end_head(0)
        for folder in self._launch.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _try(self) -> str | None:
        """Start once; the reason if that fails."""
        try:
            self._start()
        except EngineError as error:
            return str(error)
        logger.warning("Ray and all that was on it are up again")
        return None

    def _start(self) -> None:
        """Start head and driver, and wait until the driver is done; EngineError says why not."""
        launch = self._launch
        for folder in launch.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
        self._head = launch.spawn("head", launch.head)
        driver = launch.spawn("driver", launch.driver)
        try:
            self._wait_for(driver, self._head)
        finally:
            _end(driver, 0)

    def _wait_for(self, driver: subprocess.Popen[bytes], head: Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _has_ended(driver) and not self._stopping.wait(_PAUSE_S):
            PULSE.beat()
            if _has_ended(head):
                raise self._failure("Ray ended while starting", "head")
            if time.monotonic() > deadline:
                raise self._failure(f"not up after {START_TIMEOUT_S:.0f} s", "driver")
        if driver.returncode:
            raise self._failure("what belongs on Ray did not start", "driver")

    def _failure(self, reason: str, name: str) -> EngineError:
        return EngineError(f"{reason}; {end_of(self._launch.log(name))}")

    def _end_head(self, patience: float) -> None:
        if self._head is not None:
            _end(self._head, patience)


def _has_ended(process: Process) -> bool:
    if isinstance(process, subprocess.Popen):
        return process.poll() is not None
    return not processes.is_alive(process)


def _end(process: Process, patience: float) -> None:
    """End a process; it has ``patience`` seconds for what it does on its way out."""
    with suppress(psutil.NoSuchProcess):
        if patience:
            process.terminate()
            with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                process.wait(patience)
        process.kill()
        process.wait()


def start(
    arguments: Sequence[str], env: Mapping[str, str], mode: str = "wb", fds: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a supervisor in a session of its own, whose log is opened in ``mode``."""
    module = ATTACHED if ATTACH in arguments else MODULE if HEAD in arguments else JOINED
    home = Environment(env).home
    log = home / LOG
    log.parent.mkdir(exist_ok=True)
    with log.open(mode) as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=home,
            start_new_session=True, pass_fds=list(fds),
        )  # fmt: skip


def end_of(log: Path) -> str:
    """The last lines of a log, for an error."""
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n  ".join([f"the end of {log}:", *lines])


def options(arguments: Sequence[str]) -> Mapping[str, str]:
    """The options of Ray's command line among the arguments of a supervisor."""
    return dict(argument.split("=", 1) for argument in arguments if "=" in argument)


def main(make: Callable[[Sequence[str]], tuple[Supervisor, Helpers]]) -> None:
    """Supervise what is started by the arguments of this process; exit 1 with the reason if that
    fails.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        supervisor, helpers = make(sys.argv[1:])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        with helpers.asking():
            supervisor.run()
    except EngineError as error:
        sys.exit(f"error: {error}")


def begin(home: Path) -> EngineState:
    """Note that this process is the supervisor of a home, and share its pulse."""
    state = read_state(home)
    if state is None:
        raise EngineError(f"no engine is being started in {home}")
    state = replace(state, pid=os.getpid())
    write_state(home, state)
    share_pulse(Path(state.runtime), PATIENCE_S)
    return state


def adopted() -> Process | None:
    """The head that runs already, and this process is to supervise; None for none."""
    named = os.environ.pop(ADOPT, None)
    return None if named is None else psutil.Process(int(named))


def head_command(arguments: Sequence[str]) -> list[str]:
    """The command of the process that runs Ray with these arguments."""
    return [*PYTHON, "anabranch.control.engine.head", *arguments]


def _supervisor(arguments: Sequence[str]) -> tuple[Supervisor, Helpers]:
    """The supervisor of a head with these arguments, as ``launch.py`` makes them, and its watch."""
    home, env = Environment(os.environ).home, os.environ
    state = begin(home)
    engine = answers_at(state)
    watch = watch_over(options(arguments), state, home / RAY_TOKEN_FILE, Path(env[FOLDER]), engine)
    driver = "anabranch.control.engine.driver", state.address, "--timeout", str(START_TIMEOUT_S)
    folders = [Path(env[FOLDER]), Path(env[GCS_STORAGE])]
    launch = Launch(head_command(arguments), [*PYTHON, *driver], home, folders)
    return Supervisor(state, launch, watch, adopted()), watch


if __name__ == "__main__":
    main(_supervisor)
