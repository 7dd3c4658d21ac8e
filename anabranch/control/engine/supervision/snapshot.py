"""All processes of this machine at a time, read from Linux's ``/proc``; elsewhere none."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

TURN_S = 1.0
"""Pause between two looks; each takes two milliseconds."""
_PAGE = resource.getpagesize()
clock = time.monotonic


class ProcessLook(NamedTuple):
    """What proc_pid_stat(5) says of a process."""

    pid: int
    state: str
    parent: int
    threads: int
    began: str
    memory: int
    """Bytes that are resident."""


class Seeker(Protocol):
    """Finds processes that must be replaced in a look at all of them."""

    def kill_among(self, processes: Mapping[int, ProcessLook]) -> None:
        """Kill them."""


class Lookout:
    """Looks at the processes of this machine once a second, for all ``seekers`` at a time."""

    def __init__(self, *seekers: Seeker) -> None:
        self._seekers = seekers
        self._looked = 0.0

    def kill(self) -> None:
        """Have the seekers kill what they find; to be called often."""
        now = clock()
        if now - self._looked < TURN_S:
            return
        self._looked = now
        processes = look()
        for seeker in self._seekers:
            seeker.kill_among(processes)


def look() -> dict[int, ProcessLook]:
    """Return every process by its id; it takes some ten microseconds for each."""
    found = {}
    with suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and (one := look_at(int(entry.name))) is not None:
                found[one.pid] = one
    return found


def look_at(pid: int) -> ProcessLook | None:
    """Return one process; None for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123
            text = file.read(4096)
    except OSError:
        return None
    words = text.rpartition(b")")[2].split()
    if len(words) < 22:
        return None
    return ProcessLook(
        pid, words[0].decode(), int(words[1]), int(words[17]), words[19].decode(),
        int(words[21]) * _PAGE,
    )  # fmt: skip


def open_files(pid: int) -> int:
    """Return how many files, sockets and the like a process has open; 0 for one that has ended."""
    folder = f"/proc/{pid}/fd"
    try:
        # Linux 6.2 and newer says the number as the folder's size; it is 0 before.
        return os.stat(folder).st_size or len(os.listdir(folder))  # noqa: PTH116, PTH208
    except OSError:
        return 0


def below(pid: int, processes: Mapping[int, ProcessLook]) -> Iterator[ProcessLook]:
    """Yield the processes that one has started, and those that they have."""
    children: dict[int, list[ProcessLook]] = {}
    for one in processes.values():
        children.setdefault(one.parent, []).append(one)
    waiting = children.pop(pid, [])
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.pop(one.pid, [])
