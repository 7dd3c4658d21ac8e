"""The heartbeat of a process: the engine's supervisor sees by it whether the process can answer.

A file for each process, in a folder of the engine's own machine, has the pulse of its event loop.
The supervisor sends a signal to a process that is taken for dead, which has C write down, behind
the pulse, what all threads do; the process itself need not run any code of Python for that.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import mmap
import os
import signal
from pathlib import Path

from anabranch.pulse import PULSE, SIZE
from anabranch.serve.identity import here
from anabranch.serve.sockets import unix_folder

FOLDER = "pulses"
"""Folder for the files, beside the sockets. The name of each is the process's id and its start."""
HUNG = ".hung"
"""End of the name of a file whose process was ended because it did not answer."""
BEAT_S = 0.5
PATIENCE_S = 3.5
"""Time without a beat after which a process is taken for dead, in seconds."""
SLOW_PATIENCE_S = 60.0
"""The same for one whose components may keep Python's lock for long, and that no request needs."""
STACKS = signal.SIGUSR2

logger = logging.getLogger("anabranch.serve")


def start_heartbeat(patience: float = PATIENCE_S) -> None:
    """Beat on the running event loop from now on, on the engine's own machine, and Linux."""
    folder = unix_folder()
    if folder is not None and share_pulse(folder, patience):
        _beat(asyncio.get_running_loop())


def share_pulse(folder: Path, patience: float) -> bool:
    """Have the pulse of this process lie in ``folder``; False where that cannot be.

    ``patience``: seconds without a beat after which a process is taken for dead.
    """
    began = _began()
    if not began:
        return False
    try:
        memory = _shared(folder / FOLDER, f"{os.getpid()}-{began}")
    except OSError as error:
        logger.warning("this process has no heartbeat: %s", error)
        return False
    PULSE.share(memory, *here(), patience)
    return True


def end_heartbeat() -> None:
    """Expect no beat of a process that unloads its components and ends."""
    PULSE.rest()


def _beat(loop: asyncio.AbstractEventLoop) -> None:
    PULSE.beat()
    loop.call_later(BEAT_S, _beat, loop)


def _began() -> str:
    """When this process began, in ticks of Linux's clock, proc_pid_stat(5); nothing elsewhere."""
    try:
        return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _shared(folder: Path, name: str) -> memoryview:
    """Return the memory of a new file, which is there once all of it is; the stacks come last.

    The disk gives the room beforehand: a mapped page that finds none would end the process.
    """
    folder.mkdir(exist_ok=True, mode=0o700)
    draft = folder / f".{name}"
    with draft.open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)
        memory = memoryview(mmap.mmap(file.fileno(), SIZE))
        end = os.dup(file.fileno())
        os.lseek(end, 0, os.SEEK_END)
        faulthandler.register(STACKS, file=end, all_threads=True)
    draft.rename(folder / name)
    return memory
