"""All processes of this machine at a time, read from Linux's ``/proc``; elsewhere none."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

_PAGE = resource.getpagesize()


class ProcessLook(NamedTuple):
    """What proc_pid_stat(5) says of a process."""

    pid: int
    state: str
    parent: int
    threads: int
    began: str
    memory: int
    """Bytes that are resident."""


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
