"""An engine in the foreground, for those who keep services: systemd, a container, a terminal."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from anabranch.control.engine import engine
from anabranch.errors import EngineError


def stay(home: Path, take_down: Callable[[], object]) -> None:
    """Return when what runs in ``home`` has been taken down, which SIGTERM and SIGINT do.

    Raises EngineError if it ends by itself.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: take_down())
    ready()
    problem = engine.until_ended(home)
    if problem:
        raise EngineError(f"the engine has ended: {problem}")


def ready() -> None:
    """Tell systemd that this process does what it is for, where it was started with ``Type=notify``
    (sd_notify(3)).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.send(b"READY=1")
