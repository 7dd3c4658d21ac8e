"""Puts load on a URL and says how it went: with wrk where it is installed, else with our client.

Both run in a process of their own, as patient as the server (see ``contenders.NICENESS``).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.request import BODY
from benchmarks.running import NotMeasured, niced

HERE = Path(__file__).parent
PATIENCE_S = 5
"""How long a request may take before it counts as failed, in seconds."""


@dataclass(frozen=True)
class Load:
    """What one load showed: latencies in milliseconds, requests a second, failed requests."""

    p50: float
    p99: float
    rate: float
    answered: int
    failed: int


def tool() -> str:
    """The load generator of this machine: ``wrk`` or ``python``."""
    return "wrk" if shutil.which("wrk") else "python"


def load(url: str, connections: int, seconds: int, using: str, body: bytes = BODY) -> Load:
    """Ask ``url`` over ``connections`` for ``seconds``. Raises NotMeasured without any answer."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        command = _COMMANDS[using](url, connections, seconds, file.name)
        found = Load(**json.loads(_run(command, seconds)))
    if found.answered == 0:
        raise NotMeasured(f"no request was answered, {found.failed} failed")
    return found


def _wrk(url: str, connections: int, seconds: int, body: str) -> list[str]:
    return [
        *("wrk", "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", f"{PATIENCE_S}s"),
        *("--script", str(HERE / "wrk.lua"), url, "--", body),
    ]


def _python(url: str, connections: int, seconds: int, body: str) -> list[str]:
    client = str(HERE / "client.py")
    return [sys.executable, client, url, str(connections), str(seconds), str(PATIENCE_S), body]


_COMMANDS = {"wrk": _wrk, "python": _python}


def _run(command: list[str], seconds: int) -> str:
    """The last line that the generator prints."""
    limit = seconds + 3 * PATIENCE_S
    try:
        done = subprocess.run(
            niced(command), capture_output=True, text=True, timeout=limit, check=True
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"the load did not end within {limit} s") from None
    except subprocess.CalledProcessError as error:
        raise NotMeasured(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from None
    return done.stdout.strip().splitlines()[-1]
