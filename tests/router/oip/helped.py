"""Work for helper processes, which import this module: it imports little."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from anabranch.errors import TooLarge


def mirrored(view: memoryview, *more: Any) -> Any:
    return os.getpid(), view, np.frombuffer(view, np.uint8)[::-1].copy(), *more


def refused(text: str) -> None:
    raise TooLarge(text)


def killed_once(pid: int) -> str:
    """Kill the helper that has this number, but no other one."""
    if os.getpid() == pid:
        os.kill(pid, signal.SIGKILL)
    return "well"


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
