"""What the scripts in this folder share. Nothing but the standard library: every peer imports it.

Each script is one contender. ``python <script> PORT FOLDER [SPEC [TRAFFIC]]`` answers on ``PORT``
of the loopback interface until SIGTERM, keeps its files in ``FOLDER``, and starts nothing that
outlives it.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ARRANGED = "arranged"
"""File in a contender's folder that says that its second revision is in place."""


@dataclass(frozen=True)
class Arguments:
    """What a script is told."""

    port: int
    folder: Path
    spec: Path | None
    traffic: str | None


def arguments() -> Arguments:
    """The arguments of this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("spec", type=Path, nargs="?")
    parser.add_argument("traffic", nargs="?")
    found = parser.parse_args()
    return Arguments(found.port, found.folder, found.spec, found.traffic)


@contextmanager
def stoppable() -> Iterator[None]:
    """Leave at SIGTERM, through every ``finally``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    yield


def sleep_until_stopped() -> None:
    """Wait for SIGTERM; what started since may have taken its handler away."""
    with stoppable():
        threading.Event().wait()


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
    return port
