"""Locks between processes and threads, by ``flock``: gone with whoever held them, however it ends.

Their files stay, for a lock on a file that another has unlinked keeps nobody out.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anabranch.errors import ArtefactError

_PAUSE_S = 0.05


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Return a file descriptor that holds the lock until it is closed; None if another does.

    A link is not followed: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def wait_lock(
    path: Path, deadline: float, *, shared: bool = False, waiting: Callable[[], None] | None = None
) -> int:
    """Return what ``try_lock`` does once it can; ``waiting`` is called now and then until then.

    ArtefactError after ``deadline``, a time on the monotonic clock.
    """
    while (handle := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            raise ArtefactError("another process did not end its work on it in time")
        if waiting is not None:
            waiting()
        time.sleep(_PAUSE_S)
    return handle


@contextmanager
def locked(
    path: Path, deadline: float, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold a lock alone; ArtefactError if another keeps it until ``deadline``."""
    handle = wait_lock(path, deadline, waiting=waiting)
    try:
        yield
    finally:
        os.close(handle)
