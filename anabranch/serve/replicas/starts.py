"""Pauses before a process starts whose predecessors have ended while they started.

Serve starts another replica at once, however often a start fails: a component that ends its process
while it loads would keep a processor busy for ever. A file has each process of a machine from its
start until it is ready; what ends later is replaced without a pause.
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import sleep
from contextlib import suppress
from pathlib import Path

import psutil

from anabranch.names import slashless
from anabranch.serve.identity import here
from anabranch.serve.sockets import unix_folder

FOLDER = "starts"
"""Folder for the files, beside the sockets."""
FREE = 3
"""Starts that may fail without a pause, as many as Serve makes of a new revision."""
LONGEST_S = 30.0
"""Longest pause, in seconds."""
REMEMBERED_S = 600.0
"""Time after which a start that failed is forgotten, in seconds."""

logger = logging.getLogger("anabranch.serve")


def pause_after(failed: int) -> float:
    """Return the pause before another start, in seconds: one, then twice as long each time."""
    return 0.0 if failed < FREE else min(LONGEST_S, 2.0 ** min(failed - FREE, 10))


async def begin_start(segment: str) -> None:
    """Wait if starts of this segment have failed lately, then note that another one begins."""
    note = _note(segment)
    if note is None:
        return
    with suppress(OSError):
        note.parent.mkdir(exist_ok=True, mode=0o700)
        failed = _failed(note)
        if pause := pause_after(failed):
            logger.warning(
                "%d processes of segment %r have ended while they started: the next one waits for "
                "%gs", failed, segment, pause,
            )  # fmt: skip
            await sleep(pause)
        note.touch()


def end_start(segment: str) -> None:
    """Note that this process is ready: starts that failed before it do not count any more."""
    note = _note(segment)
    if note is None:
        return
    with suppress(OSError):
        for one in _starts(note):
            one.unlink(missing_ok=True)


def _note(segment: str) -> Path | None:
    folder, served = unix_folder(), here()
    if folder is None:
        return None
    about = f"{slashless(served.graph)}.r{served.revision}.{segment}"
    return folder / FOLDER / f"{about}.{os.getpid()}"


def _starts(note: Path) -> list[Path]:
    """Return the notes of all starts of the segment that a note is about, and forget old ones."""
    found = []
    for one in note.parent.iterdir():
        with suppress(FileNotFoundError):  # another process of the segment has just become ready
            if time.time() - one.stat().st_mtime > REMEMBERED_S:
                one.unlink()
            elif one.stem == note.stem:
                found.append(one)
    return found


def _failed(note: Path) -> int:
    return sum(_has_ended(int(one.suffix[1:])) for one in _starts(note))


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
