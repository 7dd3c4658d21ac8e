"""A Redis of a benchmark's own, where one is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers.script import HOST, free_port


@contextmanager
def private_redis(folder: Path) -> Iterator[str]:
    """Start a Redis; give its URL, empty where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield ""
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"redis://{HOST}:{port}/0"
        finally:
            process.terminate()
