"""Holds a process as a debugger does: it neither answers nor ends, and nobody takes it for dead.

An engine kills a process that was stopped by a signal; see ``control/engine/supervision``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
"""Requests of ptrace(2)."""
_WALL = 0x40000000
"""Has waitpid(2) wait for threads of other processes too."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Hold all threads of a process; PermissionError where this process may not."""
    threads: list[int] = []
    try:
        while new := [one for one in _threads(pid) if one not in threads]:
            for thread in new:
                _ptrace(_SEIZE, thread)
                threads.append(thread)
                _ptrace(_INTERRUPT, thread)
                os.waitpid(thread, _WALL)
        yield
    finally:
        for thread in threads:
            with suppress(ProcessLookupError):
                _ptrace(_DETACH, thread)


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def _ptrace(request: int, thread: int) -> None:
    if _LIBC.ptrace(request, thread, None, None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
