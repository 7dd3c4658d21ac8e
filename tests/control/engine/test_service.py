from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

STAY = (
    "import sys; from pathlib import Path; from anabranch.control.engine.service import stay;"
    "stay(Path(sys.argv[1]), lambda: None)"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        yield Path(name)


@pytest.mark.parametrize("is_abstract", [False, True], ids=["a path", "an abstract name"])
def test_systemd_is_told_that_the_engine_is_up(folder: Path, is_abstract: bool) -> None:
    name = f"@{uuid.uuid4()}" if is_abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(60)
        told = {**os.environ, "NOTIFY_SOCKET": name}
        subprocess.run([sys.executable, "-c", STAY, str(folder)], env=told, check=True)
        assert systemd.recv(100) == b"READY=1"


def test_who_was_not_started_by_systemd_tells_nobody(folder: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    subprocess.run([sys.executable, "-c", STAY, str(folder)], env=alone, check=True)
