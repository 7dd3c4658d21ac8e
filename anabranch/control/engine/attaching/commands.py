"""Runs what asks a Ray of somebody else, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anabranch.client.connection.engine_state import EngineState
from anabranch.control.engine import flags
from anabranch.errors import EngineError

_EXAMINE_S, _DETACH_S = 180.0, 180.0
_ERROR = "error: "
_OWN = frozenset({"RAY_AUTH_TOKEN", "RAY_ADDRESS"})
"""Variables by which Ray's own clients find a Ray and its token, and so do these processes."""


@dataclass(frozen=True)
class FoundRay:
    """A Ray that an engine can be attached to, as this machine sees it.

    ``address`` is its GCS's (host:port), ``node`` the id of this machine's node, ``python`` the
    interpreter of its workers here, ``warnings`` what does not fit everywhere.
    """

    address: str
    node: str
    dashboard: str
    python: str
    warnings: tuple[str, ...] = ()


def ray_environment() -> dict[str, str]:
    """The caller's environment, without what is of another engine."""
    env = {n: v for n, v in os.environ.items() if n in _OWN or n not in flags.FOREIGN}
    return {**env, "PYTHONPATH": flags.python_path(env)}


def examine(address: str, home: Path, ports: Mapping[str, int]) -> FoundRay:
    """Find a Ray, and check that an engine with these ports, by option, can be on it.

    Raises EngineError, which names what does not fit.
    """
    told = _run("examining", _EXAMINE_S, address, str(home), json.dumps(dict(ports)))
    found = json.loads(told)
    return FoundRay(**{**found, "warnings": tuple(found["warnings"])})


def detach(state: EngineState) -> None:
    """Remove from its Ray all that an engine has there; nothing if that Ray is there no more.

    EngineError where it cannot be removed.
    """
    _run("detaching", _DETACH_S, state.address, state.id)


def _run(name: str, timeout: float, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", f"{__package__}.{name}", *arguments]
    try:
        done: Any = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False,
            env=ray_environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"the Ray at {arguments[0]} has not answered within {timeout:.0f} s"
        ) from None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if said:
        raise EngineError(said[-1])
    if done.returncode:
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise EngineError(f"what answers at {arguments[0]} is no Ray of this version: {reason}")
    return str(done.stdout).strip().rpartition("\n")[2]
