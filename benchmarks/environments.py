"""Environments of the peers, one each, since what they need does not go together."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "requirements"
NEWEST = (3, 12)
"""The newest Python that every peer runs on."""
_READY = ".ready"


class NotInstalled(Exception):
    """A peer's environment could not be made; the text says why."""


def python_of(peer: str | None) -> Path:
    """The interpreter of a peer's environment, of this process's own for None."""
    return Path(sys.executable) if peer is None else _folder(peer) / "bin" / "python"


def install(peer: str) -> None:
    """Make a peer's environment unless it is there. Raises NotInstalled."""
    wanted = REQUIREMENTS / f"{peer}.txt"
    mark = _folder(peer) / _READY
    if mark.exists() and mark.read_text() == wanted.read_text():
        return
    _run([_interpreter(), "-m", "venv", "--clear", str(_folder(peer))])
    pip = [str(python_of(peer)), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
    _run(pip)
    mark.write_text(wanted.read_text())


def installed(peer: str) -> list[str]:
    """What is in a peer's environment, as ``name==version`` lines."""
    command = [str(python_of(peer)), "-m", "pip", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _folder(peer: str) -> Path:
    return ROOT / ".venvs" / f"bench-{peer}"


def _interpreter() -> str:
    if sys.version_info[:2] <= NEWEST:
        return sys.executable
    for name in ("python3.12", "python3.11"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise NotInstalled("it needs Python 3.11 or 3.12, and neither is on PATH")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise NotInstalled("\n".join(lines))
