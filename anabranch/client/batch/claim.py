"""One job at a time writes an output: a lock beside the parts, gone with the process that holds it.

Its file goes with the claim, unlike those of other locks, so whoever gets the lock looks whether
the file is still the one at the path.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from anabranch.client.batch import files
from anabranch.components.artefacts.locks import try_lock
from anabranch.errors import JobError

LOCK = "_lock"
PATIENCE_S = 10.0
"""Time for which a job waits, unless told otherwise, for one that ends, such as one that was
cancelled, in seconds."""
_PAUSE_S = 0.1


def this_process() -> str:
    """Return how a job names this process to others."""
    return f"the process {os.getpid()} of {os.uname().nodename}"


@asynccontextmanager
async def claimed(folder: str, by: str, patience: float | None = None) -> AsyncIterator[None]:
    """Hold the folder of a job's parts for the one that ``by`` names.

    JobError, with the name of who holds it, where another does so for ``patience`` seconds. Object
    stores have no locks, so there nothing is held. A folder that has no files then goes with the
    claim, and so do those above it that were made for it.
    """
    wait = PATIENCE_S if patience is None else patience
    with files.local_path(folder) as place:
        if place is None:
            yield
            return
        made = [place, *(one for one in place.parents if not one.exists())]
        handle = await _claim(place / LOCK, by, time.monotonic() + wait)
        try:
            yield
        finally:
            _release(place / LOCK, handle, made)


async def _claim(path: Path, by: str, deadline: float) -> int:
    while (handle := _taken(path, by)) is None:
        if time.monotonic() > deadline:
            path.parent.mkdir(parents=True, exist_ok=True)  # raises where nothing can be written
            raise JobError(
                f"{path.parent} is being written by {_holder(path)}: wait until it has ended, end "
                "it, or name another output"
            )
        await asyncio.sleep(_PAUSE_S)
    return handle


def _taken(path: Path, by: str) -> int | None:
    """Return what holds the lock; None where another has it, or is just giving it back."""
    with suppress(FileNotFoundError):
        handle = try_lock(path)
        if handle is not None and _is_at(handle, path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, by.encode(), 0)
            return handle
        if handle is not None:
            os.close(handle)
    return None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace") or "another job"
    return "another job"


def _release(path: Path, handle: int, folders: Sequence[Path]) -> None:
    path.unlink(missing_ok=True)
    with suppress(OSError):  # one has files, and so those above it
        for folder in folders:
            folder.rmdir()
    os.close(handle)
