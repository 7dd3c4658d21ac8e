"""Shared libraries that programs need, as this machine's loader finds them (ldd(1))."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from anabranch.errors import EngineError

_FOUND = re.compile(r"^\s+(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_AT_A_TIME = 100
MAGIC = b"\x7fELF"
"""Begin of programs and libraries on Linux."""


def is_program(path: Path) -> bool:
    """Return whether a file is a program or a library."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def needed(programs: Iterable[Path]) -> dict[str, Path]:
    """Return the libraries that programs and libraries need, by the names that they have for them.

    EngineError on a machine whose loader cannot be asked.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        raise EngineError(
            "the base of an image is put together from this machine's libraries, which takes `ldd` "
            "on Linux: name another base by --base"
        )
    found: dict[str, Path] = {}
    asked = sorted(programs)
    for at in range(0, len(asked), _AT_A_TIME):
        some = asked[at : at + _AT_A_TIME]
        # One that is not dynamic makes the status 1, which is no failure.
        done = subprocess.run([ldd, *some], capture_output=True, text=True, check=False)
        for name, path in _FOUND.findall(done.stdout):
            found[name or path.removeprefix("/")] = Path(path)
    return found
