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
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from anabranch.pulse import PULSE, SIZE, Reading
from anabranch.serve.identity import here
from anabranch.serve.sockets import unix_folder

FOLDER = "pulses"
"""Folder for the files, beside the sockets."""
HUNG, EXCESSIVE = ".hung", ".excessive"
"""Ends of the name of a file whose process was ended, because it did not answer, or because it took
too much of the machine."""
_NAME = re.compile(rf"(\d+)-(\d+)({re.escape(HUNG)}|{re.escape(EXCESSIVE)})?")
BEAT_S = 0.5
PATIENCE_S = 3.0
"""Time without a beat after which a process is taken for dead, in seconds."""
SLOW_PATIENCE_S = 60.0
"""The same for one whose components may keep Python's lock for long, and that no request needs."""
STACKS = signal.SIGUSR2

logger = logging.getLogger("anabranch.serve")


class PulseFile(NamedTuple):
    """The file of a process, by its name: the process's id and its start, ``1234-5678``.

    ``began``: ticks of Linux's clock, as in proc_pid_stat(5). ``end``: ``HUNG`` or ``EXCESSIVE``
    where the process was ended; empty for one that nobody has ended.
    """

    path: Path
    pid: int
    began: str
    end: str

    @classmethod
    def all_in(cls, sockets: Path) -> Iterator[PulseFile]:
        """Yield each that is whole; none where there is no folder of this name."""
        try:
            names = os.listdir(sockets / FOLDER)  # noqa: PTH208
        except OSError:
            return
        for name in names:
            if (found := _NAME.fullmatch(name)) is not None:
                pid, began, end = found.groups()
                yield cls(sockets / FOLDER / name, int(pid), began, end or "")

    def read(self) -> Reading | None:
        """Read the pulse; None where another process has just removed the file."""
        try:
            return Reading.of(self.path.read_bytes())
        except (OSError, ValueError):
            return None

    def read_note(self) -> str:
        """Read what stands behind the pulse: what threads did, or why the process was ended."""
        try:
            return self.path.read_bytes()[SIZE:].decode(errors="replace")
        except OSError:
            return ""

    def remove_sockets(self) -> None:
        """Remove the sockets of the process, which has ended, or is about to."""
        for path in self.path.parent.parent.glob(f"{self.pid}-{self.began}-*.sock"):
            path.unlink(missing_ok=True)

    def mark_ended(self, end: str, note: str = "") -> None:
        """Give it the name of one whose process was ended, and remove the sockets of that.

        OSError if it is no more.
        """
        self.remove_sockets()
        if note:
            with self.path.open("r+b") as file:
                file.truncate(SIZE)
                file.seek(SIZE)
                file.write(note.encode())
        self.path.rename(self.path.with_name(self.path.name + end))


def start_heartbeat(patience: float = PATIENCE_S) -> None:
    """Beat on the running event loop from now on, on the engine's own machine, and Linux."""
    folder = unix_folder()
    if folder is not None and share_pulse(folder, patience):
        _beat(asyncio.get_running_loop())


def share_pulse(folder: Path, patience: float) -> bool:
    """Have the pulse of this process lie in ``folder``; False where that cannot be.

    ``patience``: seconds without a beat after which a process is taken for dead.
    """
    if not _began():
        return False
    try:
        memory = _shared(folder / FOLDER, process_name())
    except OSError as error:
        logger.warning("this process has no heartbeat: %s", error)
        return False
    PULSE.share(memory, *here(), patience)
    return True


def end_heartbeat() -> None:
    """Expect no beat of a process that unloads its components and ends."""
    PULSE.rest()


def process_name() -> str:
    """Return a name of this process that none before it had: its id and, on Linux, its start."""
    return f"{os.getpid()}-{_began()}"


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
