"""Starts a contender, waits for its first right answer, and stops exactly what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anabranch.control.engine import processes
from anabranch.serve.workers.environment import MARK
from benchmarks import request
from benchmarks.contenders import GRAPH, SERVERS, Contender
from benchmarks.environments import python_of
from benchmarks.servers.script import ARRANGED, HOST, free_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
_PAUSE_S = 0.05
_LOG_LINES = 15


class NotMeasured(Exception):
    """A contender could not be measured; the text says why."""


@contextmanager
def running(contender: Contender) -> Iterator[str]:
    """Run a contender alone; gives the URL that takes requests. Raises NotMeasured."""
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as name:
        folder, port, mark = Path(name), free_port(), uuid.uuid4().hex
        process = _start(contender, port, folder, mark)
        try:
            url = f"http://{HOST}:{port}{contender.path}"
            _wait(url, process, folder)
            if contender.traffic is not None:
                _wait_arranged(process, folder)
            yield url
        finally:
            _stop(process, folder, mark)


def _start(contender: Contender, port: int, folder: Path, mark: str) -> subprocess.Popen[bytes]:
    spec = [] if contender.spec is None else [str(GRAPH / contender.spec)]
    script = str(SERVERS / contender.script)
    traffic = [] if contender.traffic is None else [contender.traffic]
    command = [str(python_of(contender.peer)), script, str(port), str(folder), *spec, *traffic]
    with _log(folder).open("wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, MARK: mark, "PYTHONPATH": f"{SERVERS}{os.pathsep}{GRAPH}"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            request.check(request.ask(url))
            return
        except (OSError, ValueError) as error:
            last = error
        except request.WrongAnswer as error:
            raise NotMeasured(f"wrong answer: {error}") from None
        if process.poll() is not None:
            raise NotMeasured(f"it ended with {process.returncode}: {_tail(folder)}")
        if time.monotonic() > deadline:
            raise NotMeasured(f"no answer in {START_TIMEOUT_S:g} s ({last}): {_tail(folder)}")
        time.sleep(_PAUSE_S)


def _wait_arranged(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the second revision is where it should be."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (folder / ARRANGED).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotMeasured(f"its second revision is not in place: {_tail(folder)}")
        time.sleep(_PAUSE_S)


def _stop(process: subprocess.Popen[bytes], folder: Path, mark: str) -> None:
    """Let the script clean up by itself, then end whatever of it is left."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"{process.args!r} does not stop by itself", file=sys.stderr)
    processes.stop(mark, process.pid, folder)
    process.wait()


def _log(folder: Path) -> Path:
    return folder / "output.log"


def _tail(folder: Path) -> str:
    """The end of what the contender wrote, and of an engine's own logs where it started one."""
    logs = [_log(folder), *sorted(folder.glob("home/logs/*.log"))]
    texts = (log.read_text(errors="replace") for log in logs)
    return "\n".join(line for text in texts for line in text.splitlines()[-_LOG_LINES:])
