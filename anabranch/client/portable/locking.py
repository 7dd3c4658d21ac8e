"""Locks of requirements: a ``requirements.txt`` in which each package has a version and digests.

uv resolves it, for all platforms (``uv pip compile --universal --generate-hashes``), or else pip,
for this one (``pip install --dry-run --report``, whose format is
https://pip.pypa.io/en/stable/reference/installation-report/).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from anabranch.errors import InvalidRequest

REQUIREMENTS = "requirements.txt"
_LINES = 5
"""Most lines of a resolver's words that an error quotes."""


def requirements(text: str) -> list[str]:
    """Return the lines of a file of requirements, continued ones as one, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    found = (line.split(" #", 1)[0].strip() for line in lines)
    return [line for line in found if line and not line.startswith("#")]


def is_locked(text: str) -> bool:
    """Tell whether each requirement in a file has a digest; options need none."""
    return all("--hash=" in line for line in requirements(text) if not line.startswith("-"))


def locked(folder: Path, text: str, timeout: float = 600.0) -> str:
    """Return a lock of ``requirements.txt`` in ``folder``, whose ``text`` is given.

    One that is locked already stays as it is. InvalidRequest where no resolver is there, or where
    it cannot resolve, such as without a package index.
    """
    if is_locked(text) and not any(line.startswith("-r") for line in requirements(text)):
        return text
    uv = shutil.which(
        "uv", path=os.pathsep.join((str(Path(sys.executable).parent), *os.get_exec_path()))
    )
    if uv is not None:
        return _resolved(_by_uv(uv), folder, timeout)
    if PathFinder.find_spec("pip") is not None:
        return "".join(_of_report(json.loads(_resolved(_BY_PIP, folder, timeout))))
    raise _refused("neither uv nor pip is there to resolve it")


def _by_uv(uv: str) -> list[str]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        uv, "pip", "compile", REQUIREMENTS, "--universal", "--generate-hashes", "--no-header",
        "--no-annotate", "--quiet", "--python", sys.executable, "--python-version", version,
    ]  # fmt: skip


_BY_PIP = [
    sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
    "--no-input", "--disable-pip-version-check", "--report", "-", "-r", REQUIREMENTS,
]  # fmt: skip


def _resolved(command: Sequence[str], folder: Path, timeout: float) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=timeout, check=False, text=True, capture_output=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(f"the resolver did not end within {timeout:g} s") from None
    except OSError as error:
        raise _refused(f"{command[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise _refused(" | ".join(lines[-_LINES:]))
    return done.stdout


def _of_report(report: Any) -> Iterator[str]:
    for one in sorted(report["install"], key=lambda one: str(one["metadata"]["name"]).lower()):
        metadata = one["metadata"]
        hashes = one["download_info"].get("archive_info", {}).get("hashes")
        if not hashes:
            raise _refused(f"{metadata['name']} comes from a place without a digest")
        pinned = "".join(f" --hash={name}:{digest}" for name, digest in sorted(hashes.items()))
        yield f"{metadata['name']}=={metadata['version']}{pinned}\n"


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"{REQUIREMENTS} cannot be locked: {reason}; put a lock with digests (`--hash=`) in its "
        "place, or build with --unlocked"
    )
