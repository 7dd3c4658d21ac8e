"""The processes of one engine: found by the mark in their environment, and stopped.

A process id alone proves nothing, because ids are used again. Every process of an engine inherits
a variable that holds the engine's id; only those are ever signalled. Some of Ray's helpers write
their title over their environment: those are known by the files they hold open in the engine's
private folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from anabranch.errors import EngineError
from anabranch.serve.workers.environment import MARK

GRACE_S = 10.0
"""How long the leader may take to stop its children, in seconds."""
TERM_S = 3.0
"""How long what is left after that may take."""
KILL_S = 5.0
"""How long the system may take to remove a killed process."""
_KILLING = (("kill", KILL_S), ("kill", KILL_S))
_YOUNG_S = 2.0
"""Age until which a process without an environment may be one that is being executed."""
_PAUSE_S = 0.02


def belongs(pid: int, engine_id: str, runtime: Path) -> bool:
    """Return whether process ``pid`` lives and is the engine's, ``runtime`` its private folder."""
    try:
        return _belongs(psutil.Process(pid), engine_id, runtime)
    except psutil.Error:
        return False


def running() -> Iterator[psutil.Process]:
    """Yield the processes of this machine.

    ``psutil.process_iter`` remembers them, and takes a process for the one that has had its id.
    """
    for pid in psutil.pids():
        with suppress(psutil.Error):
            yield psutil.Process(pid)


def of_engine(engine_id: str, runtime: Path) -> list[psutil.Process]:
    """Every living process of the engine."""
    return [process for process in _own() if _belongs(process, engine_id, runtime)]


def stop_leader(engine_id: str, leader: int | None, runtime: Path) -> None:
    """Stop the leader of the engine's processes, and with it those that it has started itself."""
    if leader is not None and belongs(leader, engine_id, runtime):
        _signal([psutil.Process(leader)], "terminate", GRACE_S)


def stop(engine_id: str, leader: int | None, runtime: Path) -> None:
    """Stop the engine's processes: first the leader, which stops its children, then all the rest.

    Raises EngineError if one of them cannot be ended.
    """
    known = of_engine(engine_id, runtime)
    _signal([one for one in known if one.pid == leader], "terminate", GRACE_S)
    _end(engine_id, runtime, known, ("terminate", TERM_S), *_KILLING)


def kill(engine_id: str, runtime: Path) -> None:
    """Kill the engine's processes but this one; EngineError as ``stop``."""
    _end(engine_id, runtime, [], *_KILLING)


def _end(
    engine_id: str,
    runtime: Path,
    known: Iterable[psutil.Process],
    *steps: tuple[str, float],
) -> None:
    for action, patience in steps:
        known = _alive({*known, *of_engine(engine_id, runtime)})
        if not known:
            return
        _signal(known, action, patience)
    left = _alive({*known, *of_engine(engine_id, runtime)})
    if left:
        raise EngineError(f"could not end processes {sorted(process.pid for process in left)}")


def _own() -> Iterator[psutil.Process]:
    user = os.getuid()
    for process in running():
        try:
            if process.pid != os.getpid() and process.uids().real == user:
                yield process
        except psutil.Error:
            continue


def _belongs(process: psutil.Process, engine_id: str, runtime: Path) -> bool:
    try:
        environment = _environment(process)
        if MARK in environment or "PATH" in environment:
            return environment.get(MARK) == engine_id
        return any(Path(file.path).is_relative_to(runtime) for file in process.open_files())
    except (psutil.Error, OSError):
        return False


def _environment(process: psutil.Process) -> dict[str, str]:
    """Its environment, which the system shows as empty while it executes a new program."""
    while not (found := process.environ()) and _is_starting(process):
        time.sleep(_PAUSE_S)
    return found


def _is_starting(process: psutil.Process) -> bool:
    """Kernel threads have no program, and they may be young."""
    return bool(process.exe()) and abs(time.time() - process.create_time()) < _YOUNG_S


def _alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """Return whether it still runs; a zombie that its parent has not reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(processes: list[psutil.Process], action: str, patience: float) -> None:
    for process in processes:
        try:
            getattr(process, action)()
        except psutil.Error:
            continue
    ends = time.monotonic() + patience
    while _alive(processes) and time.monotonic() < ends:
        time.sleep(_PAUSE_S)
