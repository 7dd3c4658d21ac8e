"""Puts load on a URL and says how it went: with wrk where it is installed, else with our client.

Both run in a process of their own; so does our client of gRPC.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.request import BODY
from benchmarks.running import NotMeasured

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


def load(
    url: str,
    connections: int,
    seconds: int,
    using: str,
    body: bytes = BODY,
    headers: Mapping[str, str] = {},
    patience: int = PATIENCE_S,
) -> Load:
    """Ask ``url`` over ``connections`` for ``seconds``. Raises NotMeasured without any answer.

    ``using`` is ``wrk``, ``python`` or ``grpc``; for the last, ``url`` is a host with a port, and
    ``body`` a ModelInferRequest.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        command = _COMMANDS[using](url, connections, seconds, patience, file.name, lines)
        found = Load(**json.loads(_run(command, seconds + 3 * patience)))
    if found.answered == 0:
        raise NotMeasured(f"no request was answered, {found.failed} failed")
    return found


def _wrk(
    url: str, connections: int, seconds: int, patience: int, body: str, headers: list[str]
) -> list[str]:
    return [
        *("wrk", "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", f"{patience}s"),
        *(f"--header={header}" for header in headers),
        *("--script", str(HERE / "wrk.lua"), url, "--", body),
    ]


def _client(
    module: str,
    url: str,
    connections: int,
    seconds: int,
    patience: int,
    body: str,
    headers: list[str],
) -> list[str]:
    numbers = map(str, (connections, seconds, patience))
    return [sys.executable, "-m", f"benchmarks.{module}", url, *numbers, body, *headers]


_COMMANDS: Mapping[str, Callable[[str, int, int, int, str, list[str]], list[str]]] = {
    "wrk": _wrk,
    "python": partial(_client, "client"),
    "grpc": partial(_client, "grpc_client"),
}


def _run(command: list[str], limit: float) -> str:
    """The last line that the generator prints, within ``limit`` seconds."""
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"the load did not end within {limit} s") from None
    except subprocess.CalledProcessError as error:
        raise NotMeasured(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from None
    return done.stdout.strip().splitlines()[-1]
